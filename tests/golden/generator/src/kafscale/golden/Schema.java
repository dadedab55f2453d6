package kafscale.golden;

import com.fasterxml.jackson.core.JsonParser;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.IOException;
import java.io.InputStream;
import java.util.ArrayList;
import java.util.List;

/** One message definition as it lies in the kafka-clients jar: which fields it has, and in which versions. */
final class Schema {
    private static final ObjectMapper MAPPER = new ObjectMapper().enable(JsonParser.Feature.ALLOW_COMMENTS);

    private final JsonNode root;

    private Schema(JsonNode root) {
        this.root = root;
    }

    /** Returns the definition of a message such as "FetchRequest". */
    static Schema load(String message) throws IOException {
        String resource = "common/message/" + message + ".json";
        try (InputStream stream = Schema.class.getClassLoader().getResourceAsStream(resource)) {
            if (stream == null) {
                throw new IOException("kafka-clients has no " + resource);
            }
            return new Schema(MAPPER.readTree(stream));
        }
    }

    int key() {
        return root.get("apiKey").asInt();
    }

    /** Returns the versions that a broker advertises unless it is told to try unstable ones. */
    Range versions() {
        Range valid = Range.parse(root.get("validVersions").asText());
        return root.path("latestVersionUnstable").asBoolean() ? new Range(valid.first(), valid.last() - 1) : valid;
    }

    List<Field> fields() {
        return fieldsOf(root);
    }

    private List<Field> fieldsOf(JsonNode parent) {
        List<Field> fields = new ArrayList<>();
        for (JsonNode field : parent.path("fields")) {
            fields.add(new Field(field));
        }
        return fields;
    }

    /** A span of versions, both ends included; the empty span has its end below its start. */
    record Range(int first, int last) {
        static Range parse(String text) {
            if (text == null || text.isBlank() || text.equals("none")) {
                return new Range(0, -1);
            }
            if (text.endsWith("+")) {
                return new Range(Integer.parseInt(text.substring(0, text.length() - 1)), Short.MAX_VALUE);
            }
            String[] ends = text.split("-");
            return new Range(Integer.parseInt(ends[0]), Integer.parseInt(ends[ends.length - 1]));
        }

        boolean contains(int version) {
            return first <= version && version <= last;
        }
    }

    /** One field of a message or of a structure inside it. */
    final class Field {
        private final JsonNode node;

        private Field(JsonNode node) {
            this.node = node;
        }

        /** Returns the name that Kafka's JSON converters use. */
        String jsonName() {
            String name = node.get("name").asText();
            return Character.toLowerCase(name.charAt(0)) + name.substring(1);
        }

        boolean exists(int version) {
            String versions = node.hasNonNull("versions") ? node.get("versions").asText() : "0+";
            return Range.parse(versions).contains(version);
        }

        boolean tagged(int version) {
            return Range.parse(node.path("taggedVersions").asText("")).contains(version);
        }

        boolean nullable(int version) {
            return Range.parse(node.path("nullableVersions").asText("")).contains(version);
        }

        boolean array() {
            return node.get("type").asText().startsWith("[]");
        }

        String type() {
            String type = node.get("type").asText();
            return array() ? type.substring(2) : type;
        }

        /** Returns the fields of a structure; none for a primitive type. */
        List<Field> fields() {
            if (node.has("fields")) {
                return fieldsOf(node);
            }
            for (JsonNode common : root.path("commonStructs")) {
                if (common.get("name").asText().equals(type())) {
                    return fieldsOf(common);
                }
            }
            return List.of();
        }
    }
}
