package rheostat;

import java.util.List;
import org.apache.flink.api.common.functions.MapFunction;
import org.apache.flink.api.common.state.ListState;
import org.apache.flink.api.common.state.ListStateDescriptor;
import org.apache.flink.api.common.typeinfo.Types;
import org.apache.flink.api.java.tuple.Tuple3;
import org.apache.flink.runtime.execution.SuppressRestartsException;
import org.apache.flink.runtime.state.FunctionInitializationContext;
import org.apache.flink.runtime.state.FunctionSnapshotContext;
import org.apache.flink.streaming.api.checkpoint.CheckpointedFunction;
import org.apache.flink.streaming.api.datastream.DataStream;

/**
 * In every checkpoint and savepoint of a job the version of all that is in it, and at its start a refusal of what a later
 * release has written. Records pass through.
 *
 * <p>State: {@code state-version}, a number; none where a release from before there were versions has written it.
 */
public final class StateVersion
        implements MapFunction<Tuple3<String, String, byte[]>, Tuple3<String, String, byte[]>>, CheckpointedFunction {
    private static final long serialVersionUID = 1L;

    private final int version;
    private transient ListState<Integer> written;

    private StateVersion(int version) {
        this.version = version;
    }

    public static DataStream<Tuple3<String, String, byte[]>> of(
            DataStream<Tuple3<String, String, byte[]>> records, int version, String name, String uid) {
        return records.map(new StateVersion(version)).returns(records.getType()).name(name).uid(uid);
    }

    @Override
    public Tuple3<String, String, byte[]> map(Tuple3<String, String, byte[]> record) {
        return record;
    }

    @Override
    public void initializeState(FunctionInitializationContext context) throws Exception {
        written =
                context.getOperatorStateStore()
                        .getUnionListState(new ListStateDescriptor<>("state-version", Types.INT));
        for (int before : written.get()) {
            if (before > version) {
                throw new SuppressRestartsException(new NewerStateException(before, version));
            }
        }
    }

    @Override
    public void snapshotState(FunctionSnapshotContext context) throws Exception {
        written.update(List.of(version));
    }

    /** What a job is to go on from is of a release that this one does not know. */
    public static final class NewerStateException extends IllegalStateException {
        private static final long serialVersionUID = 1L;

        NewerStateException(int written, int read) {
            super(
                    "the checkpoint or savepoint has state of version " + written + ", and this release reads versions up to "
                            + read + ": start the release that wrote it, or go on from what an earlier one has written");
        }
    }
}
