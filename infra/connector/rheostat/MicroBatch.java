package rheostat;

import java.util.ArrayList;
import java.util.List;
import org.apache.flink.api.common.functions.OpenContext;
import org.apache.flink.api.common.state.ListState;
import org.apache.flink.api.common.state.ListStateDescriptor;
import org.apache.flink.api.common.typeinfo.TypeInformation;
import org.apache.flink.api.common.typeinfo.Types;
import org.apache.flink.api.java.functions.KeySelector;
import org.apache.flink.streaming.api.datastream.DataStream;
import org.apache.flink.streaming.api.functions.KeyedProcessFunction;
import org.apache.flink.types.Row;
import org.apache.flink.util.Collector;

/**
 * The records of a Kafka partition that came within some milliseconds, as one array: one call into Python for all.
 *
 * <p>Key: partition, so all records of one Kafka key are in the same batches. State: {@code pending}, emptied by the
 * processing timer that emits it, so it needs no TTL; what is pending at a checkpoint is in it.
 */
public final class MicroBatch extends KeyedProcessFunction<Integer, Row, Row[]> {
    private static final long serialVersionUID = 1L;

    private final long intervalMs;
    private final TypeInformation<Row> type;
    private transient ListState<Row> pending;

    private MicroBatch(long intervalMs, TypeInformation<Row> type) {
        this.intervalMs = intervalMs;
        this.type = type;
    }

    /** The records of {@link RecordDeserializer} in batches. */
    public static DataStream<Row[]> of(DataStream<Row> records, long intervalMs, String name, String uid) {
        TypeInformation<Row> type = records.getType();
        KeySelector<Row, Integer> partition = row -> row.<Row>getFieldAs(1).<Integer>getFieldAs(1);
        return records.keyBy(partition, Types.INT)
                .process(new MicroBatch(intervalMs, type), Types.OBJECT_ARRAY(type))
                .name(name)
                .uid(uid);
    }

    @Override
    public void open(OpenContext context) {
        pending = getRuntimeContext().getListState(new ListStateDescriptor<>("pending", type));
    }

    @Override
    public void processElement(Row record, Context context, Collector<Row[]> out) throws Exception {
        pending.add(record);
        // One timer an interval: the same time registered again is the same timer.
        long now = context.timerService().currentProcessingTime();
        context.timerService().registerProcessingTimeTimer((now / intervalMs + 1) * intervalMs);
    }

    @Override
    public void onTimer(long time, OnTimerContext context, Collector<Row[]> out) throws Exception {
        List<Row> batch = new ArrayList<>();
        pending.get().forEach(batch::add);
        pending.clear();
        if (!batch.isEmpty()) {
            out.collect(batch.toArray(Row[]::new));
        }
    }
}
