package rheostat;

import java.util.ArrayList;
import java.util.List;
import org.apache.flink.api.common.functions.OpenContext;
import org.apache.flink.api.common.state.ListState;
import org.apache.flink.api.common.state.ListStateDescriptor;
import org.apache.flink.api.common.state.ValueState;
import org.apache.flink.api.common.state.ValueStateDescriptor;
import org.apache.flink.api.common.typeinfo.PrimitiveArrayTypeInfo;
import org.apache.flink.api.common.typeinfo.TypeInformation;
import org.apache.flink.api.common.typeinfo.Types;
import org.apache.flink.api.java.functions.KeySelector;
import org.apache.flink.streaming.api.datastream.DataStream;
import org.apache.flink.streaming.api.functions.KeyedProcessFunction;
import org.apache.flink.types.Row;
import org.apache.flink.util.Collector;

/**
 * The records of a Kafka partition that came within some milliseconds, up to a number of them, as one: a single call into
 * Python for all.
 *
 * <p>A batch is Row(topic, partition, offsets, keys, values), in columns: PyFlink's converter of an array of rows fills
 * one buffer again and again, so that Python would see the last row as often as there are rows.
 *
 * <p>Key: topic and partition, so all records of one Kafka key are in the same batches. State: {@code pending} and
 * its {@code count}, emptied when a batch leaves, so they need no TTL; what is pending at a checkpoint is in it.
 */
public final class MicroBatch extends KeyedProcessFunction<String, Row, Row> {
    private static final long serialVersionUID = 1L;

    private static final TypeInformation<Row> BATCH =
            Types.ROW_NAMED(
                    new String[] {"topic", "partition", "offsets", "keys", "values"},
                    Types.STRING,
                    Types.INT,
                    Types.OBJECT_ARRAY(Types.LONG),
                    Types.OBJECT_ARRAY(Types.STRING),
                    Types.OBJECT_ARRAY(PrimitiveArrayTypeInfo.BYTE_PRIMITIVE_ARRAY_TYPE_INFO));

    private final long intervalMs;
    private final TypeInformation<Row> recordType;
    private final int maxRows;
    private transient ListState<Row> pending;
    private transient ValueState<Integer> count;

    private MicroBatch(long intervalMs, int maxRows, TypeInformation<Row> recordType) {
        this.intervalMs = intervalMs;
        this.maxRows = maxRows;
        this.recordType = recordType;
    }

    /** The records of {@link RecordDeserializer} in batches. */
    public static DataStream<Row> of(
            DataStream<Row> records, long intervalMs, int maxRows, String name, String uid) {
        KeySelector<Row, String> partition =
                row -> row.<Row>getFieldAs(1).getField(0) + "-" + row.<Row>getFieldAs(1).getField(1);
        return records.keyBy(partition, Types.STRING)
                .process(new MicroBatch(intervalMs, maxRows, records.getType()), BATCH)
                .name(name)
                .uid(uid);
    }

    /** The batches of {@link #of} under their topic as the key: Row(topic, batch). */
    public static DataStream<Row> byTopic(DataStream<Row> batches, String name, String uid) {
        return batches.map(batch -> Row.of(batch.getField(0), batch))
                .returns(Types.ROW_NAMED(new String[] {"key", "batch"}, Types.STRING, BATCH))
                .name(name)
                .uid(uid);
    }

    @Override
    public void open(OpenContext context) {
        pending = getRuntimeContext().getListState(new ListStateDescriptor<>("pending", recordType));
        count = getRuntimeContext().getState(new ValueStateDescriptor<>("count", Types.INT));
    }

    @Override
    public void processElement(Row record, Context context, Collector<Row> out) throws Exception {
        pending.add(record);
        int pendingRows = 1 + (count.value() == null ? 0 : count.value());
        if (pendingRows >= maxRows) {
            emit(out);
            return;
        }
        count.update(pendingRows);
        // One timer an interval: the same time registered again is the same timer.
        long now = context.timerService().currentProcessingTime();
        context.timerService().registerProcessingTimeTimer((now / intervalMs + 1) * intervalMs);
    }

    @Override
    public void onTimer(long time, OnTimerContext context, Collector<Row> out) throws Exception {
        emit(out);
    }

    private void emit(Collector<Row> out) throws Exception {
        List<Row> batch = new ArrayList<>();
        pending.get().forEach(row -> batch.add(row.getFieldAs(1)));
        pending.clear();
        count.clear();
        if (batch.isEmpty()) {
            return;
        }
        out.collect(
                Row.of(
                        batch.get(0).getField(0),
                        batch.get(0).getField(1),
                        batch.stream().map(row -> row.<Long>getFieldAs(2)).toArray(Long[]::new),
                        batch.stream().map(row -> row.<String>getFieldAs(3)).toArray(String[]::new),
                        batch.stream().map(row -> row.<byte[]>getFieldAs(4)).toArray(byte[][]::new)));
    }
}
