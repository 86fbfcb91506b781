import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.util.Properties;
import java.util.concurrent.CountDownLatch;
import org.apache.kafka.clients.consumer.ConsumerConfig;
import org.apache.kafka.clients.producer.ProducerConfig;
import org.apache.kafka.common.serialization.Serde;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.kstream.Consumed;
import org.apache.kafka.streams.kstream.Produced;
import org.apache.kafka.streams.processor.api.FixedKeyProcessor;
import org.apache.kafka.streams.processor.api.FixedKeyProcessorContext;
import org.apache.kafka.streams.processor.api.FixedKeyRecord;
import org.apache.kafka.streams.state.KeyValueStore;
import org.apache.kafka.streams.state.Stores;

/**
 * Running mean and variance per source with Kafka Streams, exactly once, a result for every point.
 *
 * <p>The store lives in memory and is saved to its changelog topic, as Streams does by default; its cache
 * keeps all but the last change of a commit interval from going there.
 *
 * <p>Arguments: bootstrap servers, input topic, output topic, group, threads, state directory.
 */
public final class MeanAndVariance {

    private static final String STORE = "statistics";

    private MeanAndVariance() {}

    public static void main(String[] arguments) throws InterruptedException {
        StreamsBuilder builder = new StreamsBuilder();
        builder.addStateStore(
                Stores.keyValueStoreBuilder(Stores.inMemoryKeyValueStore(STORE), Serdes.String(), Statistics.SERDE)
                        .withCachingEnabled());
        builder.stream(arguments[1], Consumed.with(Serdes.String(), Serdes.ByteArray()))
                .processValues(Scorer::new, STORE)
                .to(arguments[2], Produced.with(Serdes.String(), Serdes.ByteArray()));
        KafkaStreams streams = new KafkaStreams(builder.build(), settings(arguments));
        CountDownLatch stopped = new CountDownLatch(1);
        Runtime.getRuntime()
                .addShutdownHook(
                        new Thread(
                                () -> {
                                    streams.close();
                                    stopped.countDown();
                                }));
        streams.start();
        stopped.await();
    }

    private static Properties settings(String[] arguments) {
        Properties settings = new Properties();
        settings.put(StreamsConfig.APPLICATION_ID_CONFIG, arguments[3]);
        settings.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, arguments[0]);
        settings.put(StreamsConfig.NUM_STREAM_THREADS_CONFIG, arguments[4]);
        settings.put(StreamsConfig.STATE_DIR_CONFIG, arguments[5]);
        settings.put(StreamsConfig.PROCESSING_GUARANTEE_CONFIG, StreamsConfig.EXACTLY_ONCE_V2);
        settings.put(StreamsConfig.COMMIT_INTERVAL_MS_CONFIG, 100);
        settings.put(ConsumerConfig.AUTO_OFFSET_RESET_CONFIG, "earliest");
        // From here on: larger portions than the defaults, for throughput.
        settings.put(StreamsConfig.consumerPrefix(ConsumerConfig.MAX_POLL_RECORDS_CONFIG), 10_000);
        settings.put(StreamsConfig.BUFFERED_RECORDS_PER_PARTITION_CONFIG, 10_000);
        settings.put(StreamsConfig.producerPrefix(ProducerConfig.LINGER_MS_CONFIG), 20);
        settings.put(StreamsConfig.producerPrefix(ProducerConfig.BATCH_SIZE_CONFIG), 256 * 1024);
        settings.put(StreamsConfig.producerPrefix(ProducerConfig.COMPRESSION_TYPE_CONFIG), "lz4");
        return settings;
    }

    /** Welford's running moments of one source; {@code squares} is the sum of squared deviations. */
    record Statistics(long count, double mean, double squares) {

        static final Statistics NONE = new Statistics(0, 0.0, 0.0);
        static final Serde<Statistics> SERDE =
                Serdes.serdeFrom((topic, statistics) -> bytes(statistics), (topic, bytes) -> of(bytes));

        double variance() {
            return count > 1 ? squares / (count - 1) : 0.0;
        }

        double score(double value) {
            double variance = variance();
            return variance > 0.0 ? Math.abs(value - mean) / Math.sqrt(variance) : 0.0;
        }

        Statistics with(double value) {
            double deviation = value - mean;
            double next = mean + deviation / (count + 1);
            return new Statistics(count + 1, next, squares + deviation * (value - next));
        }

        private static byte[] bytes(Statistics statistics) {
            return statistics == null
                    ? null
                    : ByteBuffer.allocate(24)
                            .putLong(statistics.count)
                            .putDouble(statistics.mean)
                            .putDouble(statistics.squares)
                            .array();
        }

        private static Statistics of(byte[] bytes) {
            if (bytes == null) {
                return null;
            }
            ByteBuffer buffer = ByteBuffer.wrap(bytes);
            return new Statistics(buffer.getLong(), buffer.getDouble(), buffer.getDouble());
        }
    }

    /** Scores a point against its source's past, then learns from it. */
    private static final class Scorer implements FixedKeyProcessor<String, byte[], byte[]> {

        private FixedKeyProcessorContext<String, byte[]> context;
        private KeyValueStore<String, Statistics> store;

        @Override
        public void init(FixedKeyProcessorContext<String, byte[]> context) {
            this.context = context;
            this.store = context.getStateStore(STORE);
        }

        @Override
        public void process(FixedKeyRecord<String, byte[]> record) {
            String point = new String(record.value(), StandardCharsets.ISO_8859_1);
            String timestamp = after(point, "\"timestamp\":");
            double value = Double.parseDouble(after(point, "\"value\":"));
            Statistics known = store.get(record.key());
            Statistics statistics = known == null ? Statistics.NONE : known;
            store.put(record.key(), statistics.with(value));
            context.forward(record.withValue(result(record.key(), timestamp, value, statistics)));
        }

        /** The number behind a member's name: enough of a parser for points that the benchmark made. */
        private static String after(String point, String name) {
            int start = point.indexOf(name) + name.length();
            int end = start;
            while (point.charAt(end) != ',' && point.charAt(end) != '}') {
                end++;
            }
            return point.substring(start, end);
        }

        private static byte[] result(String source, String timestamp, double value, Statistics statistics) {
            return new StringBuilder(200)
                    .append("{\"sourceId\":\"")
                    .append(source)
                    .append("\",\"timestamp\":")
                    .append(timestamp)
                    .append(",\"value\":")
                    .append(value)
                    .append(",\"mean\":")
                    .append(statistics.mean())
                    .append(",\"variance\":")
                    .append(statistics.variance())
                    .append(",\"score\":")
                    .append(statistics.score(value))
                    .append('}')
                    .toString()
                    .getBytes(StandardCharsets.ISO_8859_1);
        }
    }
}
