package rheostat;

import org.apache.flink.api.java.tuple.Tuple3;
import org.apache.flink.streaming.api.datastream.DataStream;
import org.apache.flink.types.Row;

/** What a job writes to a topic, as {@link RecordDeserializer} would read it there, but for its position. */
public final class Emitted {
    private Emitted() {}

    public static DataStream<Row> to(
            String topic, DataStream<Tuple3<String, String, byte[]>> outgoing, String name, String uid) {
        return outgoing.<Row>flatMap(
                        (record, out) -> {
                            if (record.f0.equals(topic)) {
                                out.collect(Row.of(record.f1, Row.of(topic, 0, 0L, record.f1, record.f2)));
                            }
                        })
                .returns(RecordDeserializer.KEYED_RECORD)
                .name(name)
                .uid(uid);
    }
}
