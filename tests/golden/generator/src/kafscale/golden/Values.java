package kafscale.golden;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.JsonNodeFactory;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.nio.charset.StandardCharsets;
import java.util.List;
import org.apache.kafka.common.Uuid;

/**
 * Fills a message with values that depend on nothing but the variant and the order of the fields, so that running the
 * program again changes no byte.
 */
final class Values {
    /** How full a message is. */
    enum Variant {
        /** Every optional field is there, every array has two elements. */
        FULL,
        /** Every optional field is null or absent, every array and every string is empty, every number an extreme. */
        EMPTY,
        /** Alternating; strings beyond ASCII and longer than one length byte can say. */
        MIXED
    }

    private static final JsonNodeFactory NODES = JsonNodeFactory.instance;

    private final Variant variant;
    private final int version;
    private int drawn;

    Values(Variant variant, int version) {
        this.variant = variant;
        this.version = version;
    }

    ObjectNode struct(List<Schema.Field> fields) {
        ObjectNode node = NODES.objectNode();
        for (Schema.Field field : fields) {
            if (field.exists(version) && !(field.tagged(version) && absent())) {
                node.set(field.jsonName(), field(field));
            }
        }
        return node;
    }

    private boolean absent() {
        drawn++;
        return variant == Variant.EMPTY || variant == Variant.MIXED && drawn % 2 == 0;
    }

    private JsonNode field(Schema.Field field) {
        if (field.nullable(version) && absent()) {
            return NODES.nullNode();
        }
        if (!field.array()) {
            return value(field);
        }
        ArrayNode array = NODES.arrayNode();
        for (int left = elements(); left > 0; left--) {
            array.add(value(field));
        }
        return array;
    }

    private int elements() {
        return switch (variant) {
            case FULL -> 2;
            case EMPTY -> 0;
            case MIXED -> 1;
        };
    }

    private JsonNode value(Schema.Field field) {
        drawn++;
        List<Schema.Field> fields = field.fields();
        if (!fields.isEmpty()) {
            return struct(fields);
        }
        // An error code other than 0 makes clients read the reply to ApiVersions as version 0.
        if (field.jsonName().equals("errorCode")) {
            return NODES.numberNode(variant == Variant.FULL ? 0 : drawn % 90);
        }
        return primitive(field.type());
    }

    private JsonNode primitive(String type) {
        return switch (type) {
            case "bool" -> NODES.booleanNode(drawn % 2 == 0);
            case "int8" -> NODES.numberNode(integer(Byte.MIN_VALUE, Byte.MAX_VALUE));
            case "int16" -> NODES.numberNode(integer(Short.MIN_VALUE, Short.MAX_VALUE));
            case "uint16" -> NODES.numberNode(integer(0, 65_535));
            case "int32" -> NODES.numberNode(integer(Integer.MIN_VALUE, Integer.MAX_VALUE));
            case "int64" -> NODES.numberNode(integer(Long.MIN_VALUE, Long.MAX_VALUE));
            case "float64" -> NODES.numberNode(drawn * 0.25);
            case "uuid" -> NODES.textNode(uuid().toString());
            case "string" -> NODES.textNode(text());
            case "bytes", "records" -> NODES.binaryNode(text().getBytes(StandardCharsets.UTF_8));
            default -> throw new IllegalArgumentException("no value for type " + type);
        };
    }

    private long integer(long lowest, long highest) {
        return switch (variant) {
            case FULL -> lowest < 0 && drawn % 3 == 0 ? -drawn % 128 : drawn % 128;
            case EMPTY -> drawn % 2 == 0 ? lowest : highest;
            case MIXED -> highest - drawn;
        };
    }

    private Uuid uuid() {
        return variant == Variant.EMPTY ? Uuid.ZERO_UUID : new Uuid(drawn * 0x0101_0101_0101_0101L, -drawn);
    }

    private String text() {
        return switch (variant) {
            case FULL -> "value-" + drawn;
            case EMPTY -> "";
            case MIXED -> drawn % 3 == 0 ? "long ".repeat(40) + drawn : "\u00e9\u6f22\ud83d\ude80" + drawn;
        };
    }
}
