package rheostat;

import static java.nio.charset.StandardCharsets.UTF_8;

import org.apache.flink.api.common.typeinfo.PrimitiveArrayTypeInfo;
import org.apache.flink.api.common.typeinfo.TypeInformation;
import org.apache.flink.api.common.typeinfo.Types;
import org.apache.flink.connector.kafka.source.reader.deserializer.KafkaRecordDeserializationSchema;
import org.apache.flink.kafka.shaded.org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.flink.types.Row;
import org.apache.flink.util.Collector;

/**
 * A Kafka record as Row(key, Row(topic, partition, offset, key, value)).
 *
 * <p>The outer pair is what PyFlink's keyed operators take apart, so a stream of records is keyed without a Python call.
 * The topic is named without the deployment's prefix. A missing key is "", a missing value (a tombstone) stays null.
 */
public final class RecordDeserializer implements KafkaRecordDeserializationSchema<Row> {
    private static final long serialVersionUID = 1L;

    static final TypeInformation<Row> RECORD =
            Types.ROW_NAMED(
                    new String[] {"topic", "partition", "offset", "key", "value"},
                    Types.STRING,
                    Types.INT,
                    Types.LONG,
                    Types.STRING,
                    PrimitiveArrayTypeInfo.BYTE_PRIMITIVE_ARRAY_TYPE_INFO);

    static final TypeInformation<Row> KEYED_RECORD =
            Types.ROW_NAMED(new String[] {"key", "record"}, Types.STRING, RECORD);

    private final String topicPrefix;

    public RecordDeserializer(String topicPrefix) {
        this.topicPrefix = topicPrefix;
    }

    @Override
    public void deserialize(ConsumerRecord<byte[], byte[]> record, Collector<Row> out) {
        String key = record.key() == null ? "" : new String(record.key(), UTF_8);
        String topic = record.topic().substring(topicPrefix.length());
        out.collect(Row.of(key, Row.of(topic, record.partition(), record.offset(), key, record.value())));
    }

    @Override
    public TypeInformation<Row> getProducedType() {
        return KEYED_RECORD;
    }
}
