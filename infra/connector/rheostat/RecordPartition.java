package rheostat;

import org.apache.flink.api.java.functions.KeySelector;
import org.apache.flink.types.Row;

/** The Kafka partition of what {@link RecordDeserializer} makes: all records of one shopper, with those of others. */
public final class RecordPartition implements KeySelector<Row, Integer> {
    private static final long serialVersionUID = 1L;

    @Override
    public Integer getKey(Row row) {
        return row.<Row>getFieldAs(1).getFieldAs(1);
    }
}
