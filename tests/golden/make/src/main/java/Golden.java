import com.fasterxml.jackson.databind.JsonNode;

import org.apache.kafka.common.Uuid;
import org.apache.kafka.common.compress.Compression;
import org.apache.kafka.common.header.internals.RecordHeader;
import org.apache.kafka.common.message.ApiMessageType;
import org.apache.kafka.common.protocol.ByteBufferAccessor;
import org.apache.kafka.common.protocol.Message;
import org.apache.kafka.common.protocol.ObjectSerializationCache;
import org.apache.kafka.common.protocol.types.BoundField;
import org.apache.kafka.common.protocol.types.Field;
import org.apache.kafka.common.protocol.types.Schema;
import org.apache.kafka.common.protocol.types.Struct;
import org.apache.kafka.common.protocol.types.TaggedFields;
import org.apache.kafka.common.protocol.types.Type;
import org.apache.kafka.common.record.internal.CompressionType;
import org.apache.kafka.common.record.internal.ControlRecordType;
import org.apache.kafka.common.record.internal.EndTransactionMarker;
import org.apache.kafka.common.record.internal.MemoryRecords;
import org.apache.kafka.common.record.internal.SimpleRecord;

import java.io.IOException;
import java.lang.reflect.InvocationTargetException;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.TreeMap;

/**
 * Writes the golden bytes: each message of each given API in each version, filled in several ways from its
 * own schema, as Kafka's generated classes write it, with the JSON of Kafka's JsonConverter.
 * usage: Golden OUT_DIR API...
 */
public final class Golden {
    private enum Fill { DEFAULTS, EMPTY, FULL }

    private final Path dir;
    private final Random random = new Random(1);
    private Fill fill;

    private Golden(Path dir) {
        this.dir = dir;
    }

    private byte[] randomBytes() {
        byte[] bytes = new byte[random.nextInt(4)];
        random.nextBytes(bytes);
        return bytes;
    }

    private String randomString() {
        String[] words = {"a", "bc", "orders-3", "", "caf\u00e9", "x.y_z", "\"q\\"};
        return words[random.nextInt(words.length)];
    }

    private Object scalar(String type) {
        boolean empty = fill == Fill.EMPTY;
        switch (type) {
            case "BOOLEAN": return !empty && random.nextBoolean();
            case "INT8": return empty ? (byte) 0 : (byte) random.nextInt();
            case "INT16": return empty ? (short) 0 : (short) random.nextInt();
            case "UINT16": return empty ? 0 : random.nextInt(65536);
            case "INT32": return empty ? 0 : random.nextInt();
            case "UINT32": return empty ? 0L : (long) random.nextInt(Integer.MAX_VALUE);
            case "INT64": return empty ? 0L : random.nextLong();
            case "FLOAT64": return empty ? 0.0 : random.nextInt(1000) / 4.0;
            case "UUID": return empty ? Uuid.ZERO_UUID : new Uuid(random.nextLong(), random.nextLong());
            default: throw new IllegalArgumentException(type);
        }
    }

    private Object value(Type type) {
        if (type.isNullable() && (fill == Fill.EMPTY || random.nextInt(8) == 0)) return null;
        if (type.isArray()) {
            int count = fill == Fill.EMPTY ? 0 : 1 + random.nextInt(4) / 3;
            Object[] elements = new Object[count];
            Type element = type.arrayElementType().get();
            for (int i = 0; i < count; i++) elements[i] = value(element);
            return elements;
        }
        if (type instanceof Schema) return struct((Schema) type);
        if (type instanceof TaggedFields) return tagged((TaggedFields) type);
        String name = type.toString();
        if (name.endsWith("STRING")) return fill == Fill.EMPTY ? "" : randomString();
        if (name.endsWith("BYTES")) return ByteBuffer.wrap(fill == Fill.EMPTY ? new byte[0] : randomBytes());
        if (name.endsWith("RECORDS")) return MemoryRecords.readableRecords(ByteBuffer.wrap(randomBytes()));
        return scalar(name);
    }

    private Struct struct(Schema schema) {
        Struct s = new Struct(schema);
        for (BoundField f : schema.fields()) s.set(f, value(f.def.type));
        return s;
    }

    private Map<Integer, Object> tagged(TaggedFields type) {
        TreeMap<Integer, Object> map = new TreeMap<>();
        if (fill == Fill.EMPTY) return map;
        for (Map.Entry<Integer, Field> e : type.fields().entrySet())
            if (random.nextInt(4) != 0) map.put(e.getKey(), value(e.getValue().type));
        return map;
    }

    private static String hex(ByteBuffer buffer) {
        StringBuilder text = new StringBuilder();
        for (int i = buffer.position(); i < buffer.limit(); i++) text.append(String.format("%02x", buffer.get(i)));
        return text.length() == 0 ? "-" : text.toString();
    }

    private static String json(Message m, short version) throws ReflectiveOperationException {
        Class<?> converter = Class.forName(m.getClass().getName() + "JsonConverter");
        JsonNode node = (JsonNode) converter.getMethod("write", m.getClass(), short.class, boolean.class)
            .invoke(null, m, version, false);
        return node.toString();
    }

    /** The message as its class writes it, whatever it was made from. */
    private void add(List<String> lines, String name, Message m, short version) throws ReflectiveOperationException {
        ObjectSerializationCache cache = new ObjectSerializationCache();
        ByteBuffer out = ByteBuffer.allocate(m.size(cache, version));
        m.write(new ByteBufferAccessor(out), cache, version);
        out.flip();
        String line = name + " " + version + " " + hex(out) + " " + json(m, version);
        if (!lines.contains(line)) lines.add(line);
    }

    private void addAll(List<String> lines, String name, Class<?> type, int low, int high)
            throws ReflectiveOperationException {
        Schema[] schemas = (Schema[]) type.getField("SCHEMAS").get(null);
        for (short version = (short) low; version <= high; version++) {
            for (Fill f : new Fill[] {Fill.DEFAULTS, Fill.EMPTY, Fill.FULL, Fill.FULL}) {
                fill = f;
                Message m = (Message) type.getConstructor().newInstance();
                if (f != Fill.DEFAULTS) {
                    Struct s = struct(schemas[version]);
                    ByteBuffer buffer = ByteBuffer.allocate(schemas[version].sizeOf(s));
                    schemas[version].write(buffer, s);
                    buffer.flip();
                    m.read(new ByteBufferAccessor(buffer), version);
                    if (buffer.hasRemaining()) throw new IllegalStateException(name + " left bytes");
                }
                add(lines, name, m, version);
            }
        }
    }

    private static String snake(String name) {
        return name.replaceAll("([a-z0-9])([A-Z])", "$1_$2").toLowerCase();
    }

    private void write(String file, List<String> lines) throws IOException {
        Files.write(dir.resolve(file + ".txt"), lines, StandardCharsets.UTF_8);
    }

    private void api(String name) throws ReflectiveOperationException, IOException {
        ApiMessageType api = Arrays.stream(ApiMessageType.values()).filter(a -> a.name.equals(name)).findFirst().get();
        List<String> lines = new ArrayList<>();
        int high = api.highestSupportedVersion(false);
        for (String direction : new String[] {"Request", "Response"})
            addAll(lines, name + direction, Class.forName("org.apache.kafka.common.message." + name + direction + "Data"),
                api.lowestSupportedVersion(), high);
        write(snake(name), lines);
    }

    private void data(String file, String packageName, String... names) throws ReflectiveOperationException, IOException {
        List<String> lines = new ArrayList<>();
        for (String name : names) {
            Class<?> type = Class.forName(packageName + "." + name);
            Message m = (Message) type.getConstructor().newInstance();
            addAll(lines, name, type, m.lowestSupportedVersion(), m.highestSupportedVersion());
        }
        write(file, lines);
    }

    /** Batches of 40 records: "codec hex"; record i has key "key-i" (null for every 7th), a value of i bytes 'v'. */
    private void batches() throws IOException {
        List<String> lines = new ArrayList<>();
        for (CompressionType codec : CompressionType.values()) {
            SimpleRecord[] records = new SimpleRecord[40];
            for (int i = 0; i < records.length; i++) {
                byte[] value = new byte[i];
                Arrays.fill(value, (byte) 'v');
                byte[] key = i % 7 == 0 ? null : ("key-" + i).getBytes(StandardCharsets.UTF_8);
                RecordHeader[] headers = i % 3 == 0
                    ? new RecordHeader[] {new RecordHeader("h", (byte[]) null), new RecordHeader("g", new byte[] {1})}
                    : new RecordHeader[0];
                records[i] = new SimpleRecord(1700000000000L + i, key, value, headers);
            }
            MemoryRecords batch = MemoryRecords.withIdempotentRecords(Compression.of(codec).build(), 77L, (short) 5, 9,
                records);
            lines.add(codec.name + " " + hex(batch.buffer()));
        }
        MemoryRecords marker = MemoryRecords.withEndTransactionMarker(0L, 1700000000000L, -1, 44L, (short) 3,
            new EndTransactionMarker(ControlRecordType.COMMIT, 9));
        lines.add("marker " + hex(marker.buffer()));
        write("record_batches", lines);
    }

    public static void main(String[] args) throws Exception {
        Golden golden = new Golden(Path.of(args[0]));
        for (int i = 1; i < args.length; i++) {
            try {
                golden.api(args[i]);
            } catch (InvocationTargetException e) {
                throw new IllegalStateException(args[i], e.getCause());
            }
        }
        golden.data("consumer_protocol", "org.apache.kafka.common.message", "ConsumerProtocolSubscription",
            "ConsumerProtocolAssignment");
        golden.data("group_records", "org.apache.kafka.coordinator.group.generated", "OffsetCommitKey",
            "OffsetCommitValue", "GroupMetadataKey", "GroupMetadataValue");
        golden.batches();
    }
}
