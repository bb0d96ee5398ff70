package rheostat;

import org.apache.flink.api.java.functions.KeySelector;
import org.apache.flink.types.Row;

/** The Kafka key of what {@link RecordDeserializer} makes. */
public final class RecordKey implements KeySelector<Row, String> {
    private static final long serialVersionUID = 1L;

    @Override
    public String getKey(Row row) {
        return row.getFieldAs(0);
    }
}
