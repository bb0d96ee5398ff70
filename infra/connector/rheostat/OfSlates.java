package rheostat;

import static java.nio.charset.StandardCharsets.US_ASCII;

import org.apache.flink.streaming.api.datastream.DataStream;
import org.apache.flink.types.Row;

/**
 * Leaves out the clicks that name no slate, which are most: nothing can be learnt of slates from them, and each would be a
 * call into Python.
 */
public final class OfSlates {
    private static final byte[] FIELD = "\"rec_id\"".getBytes(US_ASCII);

    private OfSlates() {}

    public static DataStream<Row> of(DataStream<Row> records, String clicks, String name, String uid) {
        return records.filter(
                        row -> {
                            Row record = row.getFieldAs(1);
                            return !clicks.equals(record.getField(0)) || namesSlate(record.getFieldAs(4));
                        })
                .name(name)
                .uid(uid);
    }

    /** Whether a field {@code rec_id} holds text; a record without a value is for others to tell. */
    static boolean namesSlate(byte[] json) {
        if (json == null) {
            return false;
        }
        for (int start = 0; start + FIELD.length < json.length; start++) {
            if (json[start] != '"' || !matches(json, start)) {
                continue;
            }
            int at = start + FIELD.length;
            while (at < json.length && (json[at] == ':' || Character.isWhitespace(json[at]))) {
                at++;
            }
            if (at < json.length && json[at] == '"') {
                return true;
            }
        }
        return false;
    }

    private static boolean matches(byte[] json, int start) {
        for (int n = 0; n < FIELD.length; n++) {
            if (json[start + n] != FIELD[n]) {
                return false;
            }
        }
        return true;
    }
}
