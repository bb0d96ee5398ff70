package rheostat;

import org.apache.flink.api.java.functions.KeySelector;
import org.apache.flink.types.Row;

/**
 * The Kafka partition of what {@link RecordDeserializer} makes: all records of one shopper, with those of others.
 *
 * <p>In a Row, as PyFlink has every key.
 */
public final class RecordPartition implements KeySelector<Row, Row> {
    private static final long serialVersionUID = 1L;

    @Override
    public Row getKey(Row row) {
        return Row.of(row.<Row>getFieldAs(1).<Integer>getFieldAs(1));
    }
}
