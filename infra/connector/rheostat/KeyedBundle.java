package rheostat;

import static java.nio.charset.StandardCharsets.UTF_8;

import java.nio.ByteBuffer;
import java.time.Duration;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.concurrent.TimeUnit;
import org.apache.flink.api.common.operators.MailboxExecutor;
import org.apache.flink.api.common.state.ListState;
import org.apache.flink.api.common.state.ListStateDescriptor;
import org.apache.flink.api.common.state.StateTtlConfig;
import org.apache.flink.api.common.state.ValueState;
import org.apache.flink.api.common.state.ValueStateDescriptor;
import org.apache.flink.api.common.typeinfo.PrimitiveArrayTypeInfo;
import org.apache.flink.api.common.typeinfo.TypeInformation;
import org.apache.flink.api.common.typeinfo.Types;
import org.apache.flink.api.java.tuple.Tuple3;
import org.apache.flink.configuration.Configuration;
import org.apache.flink.runtime.state.VoidNamespace;
import org.apache.flink.runtime.state.VoidNamespaceSerializer;
import org.apache.flink.streaming.api.datastream.DataStream;
import org.apache.flink.streaming.api.datastream.KeyedStream;
import org.apache.flink.streaming.api.operators.InternalTimer;
import org.apache.flink.streaming.api.operators.InternalTimerService;
import org.apache.flink.streaming.api.operators.Triggerable;
import org.apache.flink.streaming.api.operators.TwoInputStreamOperator;
import org.apache.flink.streaming.api.operators.python.embedded.AbstractEmbeddedPythonFunctionOperator;
import org.apache.flink.streaming.runtime.streamrecord.StreamRecord;
import org.apache.flink.types.Row;

/**
 * What is queued for the subtask as one call into Python, bytes in and bytes out, with the keys' states, which stay here.
 *
 * <p>A record opens a bundle, and a mail asks after each turn of the task whether another one has come; if not, nothing is
 * queued, and the bundle leaves. What comes while it is answered is the next one: none waits for others to come. It leaves
 * too when it is full, before a checkpoint's barrier, before a record of the other input, and at the end, so that no
 * checkpoint ever holds a part of a bundle.
 *
 * <p>Python's side is an object named {@code operation} with {@code answer_many(bytes)} and {@code apply_many(bytes)};
 * streaming/flink/bundles.py has the layout of both. State: bytes by key, with a TTL; and {@code waiting}, records that
 * Python would rather answer later. They come again, behind a record of the topic that they wait for, or when their time,
 * a timer of processing time, has come: so they need no TTL.
 */
public final class KeyedBundle extends AbstractEmbeddedPythonFunctionOperator<Tuple3<String, String, byte[]>>
        implements TwoInputStreamOperator<Row, Row, Tuple3<String, String, byte[]>>, Triggerable<Row, VoidNamespace> {
    private static final long serialVersionUID = 1L;
    private static final TypeInformation<Tuple3<String, String, byte[]>> OUTGOING =
            Types.TUPLE(Types.STRING, Types.STRING, PrimitiveArrayTypeInfo.BYTE_PRIMITIVE_ARRAY_TYPE_INFO);
    private static final int RECORDS_AT_MOST = 64;
    private static final int BYTES_AT_MOST = 1 << 16; // of control records: a slate waits for all of them

    private final String opening; // Python code that makes `operation`
    private final List<String> topicsOut;
    private final String stateName;
    private final long ttlMs;
    private final String awaited; // the topic
    private final List<String> counterNames;
    private final List<String> histogramNames;
    private final List<String> gaugeNames;

    private transient ValueState<byte[]> state;
    private transient ListState<Row> waiting;
    private transient InternalTimerService<VoidNamespace> timers;
    private transient MailboxExecutor mailbox;
    private transient Meters meters;
    private transient List<Row> keys; // of the open bundle's records; none of control records have one
    private transient List<Row> records;
    private transient List<Long> arrivals; // ns
    private transient List<Boolean> wasDeferred; // of records
    private transient Map<Row, byte[]> states; // of the bundle's keys before it
    private transient boolean isControl; // what the open bundle holds
    private transient int bytes;
    private transient int seenByMail;
    private transient boolean mailPosted;
    private transient EmbeddedPython python;
    private transient boolean isOpen; // Python's side
    private transient StreamRecord<Tuple3<String, String, byte[]>> outgoing;

    private KeyedBundle(
            String opening,
            List<String> topicsOut,
            String stateName,
            long ttlMs,
            String awaited,
            List<String> counters,
            List<String> histograms,
            List<String> gauges) {
        super(new Configuration());
        this.opening = opening;
        this.topicsOut = new ArrayList<>(topicsOut);
        this.stateName = stateName;
        this.ttlMs = ttlMs;
        this.awaited = awaited;
        this.counterNames = new ArrayList<>(counters);
        this.histogramNames = new ArrayList<>(histograms);
        this.gaugeNames = new ArrayList<>(gauges);
    }

    /**
     * The answers to {@code records}, by bundle, under what {@code control} says.
     *
     * @param opening Python code that makes {@code operation}
     * @param topicsOut by their numbers in what Python returns
     * @param awaited topic of the records behind which those that wait come again
     * @param counters, histograms, gauges names as {@link Meters} takes them
     */
    public static DataStream<Tuple3<String, String, byte[]>> of(
            KeyedStream<Row, Row> records,
            DataStream<Row> control,
            String opening,
            List<String> topicsOut,
            String stateName,
            long ttlMs,
            String awaited,
            List<String> counters,
            List<String> histograms,
            List<String> gauges,
            String name,
            String uid) {
        return records.connect(control.broadcast())
                .transform(
                        name,
                        OUTGOING,
                        new KeyedBundle(
                                opening, topicsOut, stateName, ttlMs, awaited, counters, histograms, gauges))
                .disableChaining() // a second operator of Python in the same thread would wait for this one for ever
                .name(name)
                .uid(uid);
    }

    @Override
    public void open() throws Exception {
        super.open();
        ValueStateDescriptor<byte[]> descriptor =
                new ValueStateDescriptor<>(stateName, PrimitiveArrayTypeInfo.BYTE_PRIMITIVE_ARRAY_TYPE_INFO);
        descriptor.enableTimeToLive(StateTtlConfig.newBuilder(Duration.ofMillis(ttlMs)).build());
        state = getRuntimeContext().getState(descriptor);
        waiting =
                getRuntimeContext().getListState(new ListStateDescriptor<>("waiting", RecordDeserializer.RECORD));
        timers = getInternalTimerService("waiting", VoidNamespaceSerializer.INSTANCE, this);
        mailbox = getContainingTask().getMailboxExecutorFactory().createExecutor(getOperatorConfig().getChainIndex());
        meters = new Meters(getMetricGroup(), counterNames, histogramNames, gaugeNames);
        keys = new ArrayList<>();
        records = new ArrayList<>();
        arrivals = new ArrayList<>();
        wasDeferred = new ArrayList<>();
        states = new LinkedHashMap<>();
        outgoing = new StreamRecord<>(null);
        meters.update(call("apply_many")); // of no records: by what slates will be weighed
    }

    @Override
    public void openPythonInterpreter() {
        python = EmbeddedPython.of(this);
        python.exec(opening);
        isOpen = true;
    }

    @Override
    public void close() throws Exception {
        if (isOpen) {
            isOpen = false;
            python.exec("operation.close()");
        }
        super.close();
    }

    @Override
    public void processElement1(StreamRecord<Row> element) throws Exception {
        Row key = (Row) getCurrentKey();
        Row record = element.getValue().getFieldAs(1);
        List<Row> again = awaited.equals(record.getField(0)) ? takeWaiting() : List.of();
        if (records.size() + 1 + again.size() > RECORDS_AT_MOST) {
            flush(); // what waits is answered with what it waits for
        }
        addKeyed(key, record, false);
        for (Row waited : again) {
            addKeyed(key, waited, true);
        }
    }

    @Override
    public void processElement2(StreamRecord<Row> element) throws Exception {
        begin(true);
        add(element.getValue().getFieldAs(1), false);
    }

    /** All that waits under the key, also what has begun to since. */
    @Override
    public void onProcessingTime(InternalTimer<Row, VoidNamespace> timer) throws Exception {
        Row key = timer.getKey();
        for (Row waited : takeWaiting()) {
            addKeyed(key, waited, true);
        }
    }

    @Override
    public void onEventTime(InternalTimer<Row, VoidNamespace> timer) {
        throw new UnsupportedOperationException("no timer of event time is set");
    }

    private List<Row> takeWaiting() throws Exception {
        List<Row> taken = new ArrayList<>();
        waiting.get().forEach(taken::add);
        waiting.clear();
        return taken;
    }

    private void addKeyed(Row key, Row record, boolean waited) throws Exception {
        begin(false);
        if (!states.containsKey(key)) {
            if (getCurrentKey() != key) {
                setCurrentKey(key); // a bundle has left in between
            }
            states.put(key, state.value());
        }
        keys.add(key);
        add(record, waited);
    }

    /** Before a barrier, at the end, and each second. */
    @Override
    protected void invokeFinishBundle() throws Exception {
        flush();
    }

    private void begin(boolean control) throws Exception {
        if (isControl != control) {
            flush();
            isControl = control;
        }
    }

    private void add(Row record, boolean waited) throws Exception {
        byte[] value = record.getFieldAs(4);
        bytes += value == null ? 0 : value.length;
        records.add(record);
        arrivals.add(System.nanoTime());
        wasDeferred.add(waited);
        if (records.size() >= RECORDS_AT_MOST || isControl && bytes >= BYTES_AT_MOST) {
            flush();
        } else if (!mailPosted) {
            seenByMail = 0;
            post();
        }
    }

    private void post() {
        mailPosted = true;
        mailbox.execute(this::lookAgain, "bundle");
    }

    private void lookAgain() throws Exception {
        mailPosted = false;
        if (records.isEmpty()) {
            return;
        }
        if (records.size() != seenByMail) {
            seenByMail = records.size();
            post();
            return;
        }
        flush();
    }

    private void flush() throws Exception {
        if (records.isEmpty()) {
            return;
        }
        ByteBuffer answer = call(isControl ? "apply_many" : "answer_many");
        meters.update(answer);
        if (!isControl) {
            keep(answer);
            emit(answer);
            defer(answer);
        }
        keys.clear();
        records.clear();
        arrivals.clear();
        wasDeferred.clear();
        states.clear();
        bytes = 0;
        seenByMail = 0;
    }

    private ByteBuffer call(String method) {
        return ByteBuffer.wrap((byte[]) python.invoke("operation", method, packed()));
    }

    private byte[] packed() {
        long now = System.nanoTime();
        BundleBuffer out = new BundleBuffer().putInt(records.size());
        for (int n = 0; n < records.size(); n++) {
            Row record = records.get(n);
            out.putText(record.getFieldAs(0))
                    .putInt(record.<Integer>getFieldAs(1))
                    .putLong(record.<Long>getFieldAs(2))
                    .putInt((int) TimeUnit.NANOSECONDS.toMicros(now - arrivals.get(n)))
                    .putInt(wasDeferred.get(n) ? 1 : 0)
                    .putText(record.getFieldAs(3))
                    .putBytes(record.getFieldAs(4));
        }
        states.values().removeIf(Objects::isNull);
        out.putInt(states.size());
        states.forEach((key, before) -> out.putText(key.getFieldAs(0)).putBytes(before));
        return out.toBytes();
    }

    private void keep(ByteBuffer answer) throws Exception {
        for (int left = answer.getInt(); left > 0; left--) {
            setCurrentKey(keys.get(answer.getInt()));
            state.update(BundleBuffer.bytes(answer));
        }
    }

    private void defer(ByteBuffer answer) throws Exception {
        for (int left = answer.getInt(); left > 0; left--) {
            int number = answer.getInt();
            setCurrentKey(keys.get(number));
            waiting.add(records.get(number));
            timers.registerProcessingTimeTimer(VoidNamespace.INSTANCE, answer.getLong());
        }
    }

    private void emit(ByteBuffer answer) {
        for (int left = answer.getInt(); left > 0; left--) {
            String topic = topicsOut.get(answer.getInt());
            String key = new String(BundleBuffer.bytes(answer), UTF_8);
            output.collect(outgoing.replace(Tuple3.of(topic, key, BundleBuffer.bytes(answer))));
        }
    }
}
