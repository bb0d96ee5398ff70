package rheostat;

import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.List;
import org.apache.flink.metrics.Counter;
import org.apache.flink.metrics.Histogram;
import org.apache.flink.metrics.MetricGroup;
import org.apache.flink.runtime.metrics.DescriptiveStatisticsHistogram;

/** Flink's metrics of what Python counts, told once a bundle. A name is "name" or "name label value". */
final class Meters {
    private static final String GROUP = "rheostat";
    private static final int SAMPLES = 1_000; // the newest values that quantiles are taken from

    private final List<Counter> counters = new ArrayList<>();
    private final List<Histogram> histograms = new ArrayList<>();
    private final long[] gauges;

    Meters(MetricGroup metrics, List<String> counters, List<String> histograms, List<String> gauges) {
        MetricGroup group = metrics.addGroup(GROUP);
        for (String counter : counters) {
            String[] parts = counter.split(" ");
            this.counters.add((parts.length == 3 ? group.addGroup(parts[1], parts[2]) : group).counter(parts[0]));
        }
        for (String name : histograms) {
            this.histograms.add(group.histogram(name, new DescriptiveStatisticsHistogram(SAMPLES)));
        }
        this.gauges = new long[gauges.size()];
        for (int n = 0; n < this.gauges.length; n++) {
            int place = n;
            group.gauge(gauges.get(n), () -> this.gauges[place]);
        }
    }

    /** Take over what Python says: increments of all counters, new values of all histograms, all gauges. */
    void update(ByteBuffer from) {
        for (Counter counter : counters) {
            counter.inc(from.getInt());
        }
        for (Histogram histogram : histograms) {
            for (int left = from.getInt(); left > 0; left--) {
                histogram.update(from.getInt());
            }
        }
        for (int n = 0; n < gauges.length; n++) {
            gauges[n] = from.getLong();
        }
    }
}
