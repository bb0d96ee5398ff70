package rheostat;

import static java.nio.charset.StandardCharsets.UTF_8;

import org.apache.flink.api.java.tuple.Tuple3;
import org.apache.flink.connector.kafka.sink.KafkaRecordSerializationSchema;
import org.apache.flink.kafka.shaded.org.apache.kafka.clients.producer.ProducerRecord;

/** (topic, key, value) as a Kafka record: one sink writes to every topic, so an operator needs no side outputs. An empty value is a tombstone. */
public final class RecordSerializer implements KafkaRecordSerializationSchema<Tuple3<String, String, byte[]>> {
    private static final long serialVersionUID = 1L;

    private final String topicPrefix;

    public RecordSerializer(String topicPrefix) {
        this.topicPrefix = topicPrefix;
    }

    @Override
    public ProducerRecord<byte[], byte[]> serialize(
            Tuple3<String, String, byte[]> record, KafkaSinkContext context, Long timestamp) {
        byte[] value = record.f2.length == 0 ? null : record.f2;
        return new ProducerRecord<>(topicPrefix + record.f0, record.f1.getBytes(UTF_8), value);
    }
}
