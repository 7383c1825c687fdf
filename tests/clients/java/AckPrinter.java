import java.nio.charset.StandardCharsets;
import java.util.Map;
import org.apache.kafka.clients.producer.ProducerInterceptor;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.header.Headers;

/**
 * Lets Kafka's console producer say what was acknowledged: a producer interceptor, the client's own place for such things.
 * The record's number travels in a header, as acknowledgements do not carry the record.
 */
public final class AckPrinter implements ProducerInterceptor<byte[], byte[]> {
    private static final String HEADER = "i";

    @Override
    public ProducerRecord<byte[], byte[]> onSend(ProducerRecord<byte[], byte[]> record) {
        record.headers().add(HEADER, record.key());
        return record;
    }

    @Override
    public void onAcknowledgement(RecordMetadata metadata, Exception exception, Headers headers) {
        String i = new String(headers.lastHeader(HEADER).value(), StandardCharsets.UTF_8);
        String line = exception != null
            ? "error " + i + " " + exception
            : "ack " + i + " " + metadata.partition() + " " + metadata.offset() + " " + System.currentTimeMillis();
        System.out.println(line);
        System.out.flush();
    }

    @Override
    public void close() {
    }

    @Override
    public void configure(Map<String, ?> configs) {
    }
}
