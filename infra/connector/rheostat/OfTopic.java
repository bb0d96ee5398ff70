package rheostat;

import org.apache.flink.streaming.api.datastream.DataStream;
import org.apache.flink.types.Row;

/** The records of one topic: what lies on the others is no call into Python. */
public final class OfTopic {
    private OfTopic() {}

    public static DataStream<Row> of(DataStream<Row> records, String topic, String name, String uid) {
        return records.filter(row -> topic.equals(row.<Row>getFieldAs(1).getField(0))).name(name).uid(uid);
    }
}
