package rheostat;

import java.util.Map;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.locks.LockSupport;
import org.apache.flink.kafka.shaded.org.apache.kafka.clients.consumer.ConsumerInterceptor;
import org.apache.flink.kafka.shaded.org.apache.kafka.clients.consumer.ConsumerRecords;
import org.apache.flink.kafka.shaded.org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.flink.kafka.shaded.org.apache.kafka.common.TopicPartition;

/**
 * Holds a fetch back until some time after the one before: under load each fetch brings several records, which are answered
 * together, while what comes after a pause does not wait. A consumer's `interceptor.classes`.
 */
public final class Pace implements ConsumerInterceptor<byte[], byte[]> {
    public static final String INTERVAL_MS = "rheostat.fetch.interval.ms";

    private long intervalNs;
    private long last;

    @Override
    public void configure(Map<String, ?> configs) {
        intervalNs = TimeUnit.MILLISECONDS.toNanos(Long.parseLong((String) configs.get(INTERVAL_MS)));
        last = System.nanoTime() - intervalNs;
    }

    @Override
    public ConsumerRecords<byte[], byte[]> onConsume(ConsumerRecords<byte[], byte[]> records) {
        for (long early; (early = last + intervalNs - System.nanoTime()) > 0; ) {
            LockSupport.parkNanos(early);
            if (Thread.currentThread().isInterrupted()) {
                break;
            }
        }
        last = System.nanoTime();
        return records;
    }

    @Override
    public void onCommit(Map<TopicPartition, OffsetAndMetadata> offsets) {}

    @Override
    public void close() {}
}
