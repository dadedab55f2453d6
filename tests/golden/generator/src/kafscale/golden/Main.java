package kafscale.golden;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.IOException;
import java.io.Writer;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Base64;
import java.util.List;
import org.apache.kafka.common.protocol.Message;
import org.apache.kafka.common.protocol.MessageUtil;

/**
 * Writes one file per API: every version, both directions, every variant, as Kafka's own classes serialize it.
 *
 * <p>Each line is an object: api, key, version, direction, body (base64) and json (Kafka's JSON form of the message).
 */
public final class Main {
    /** What the broker serves or will serve, and what the Python codec has a schema for. */
    private static final List<String> APIS = List.of(
        "Produce", "Fetch", "ListOffsets", "Metadata", "OffsetCommit", "OffsetFetch", "FindCoordinator", "JoinGroup",
        "Heartbeat", "LeaveGroup", "SyncGroup", "DescribeGroups", "ListGroups", "SaslHandshake", "ApiVersions",
        "CreateTopics", "DeleteTopics", "DeleteRecords", "InitProducerId", "OffsetForLeaderEpoch",
        "AddPartitionsToTxn", "AddOffsetsToTxn", "EndTxn", "WriteTxnMarkers", "TxnOffsetCommit", "DescribeAcls",
        "CreateAcls", "DeleteAcls", "DescribeConfigs", "AlterConfigs", "AlterReplicaLogDirs", "DescribeLogDirs",
        "SaslAuthenticate", "CreatePartitions", "DeleteGroups", "ElectLeaders", "IncrementalAlterConfigs",
        "AlterPartitionReassignments", "ListPartitionReassignments", "OffsetDelete", "DescribeClientQuotas",
        "AlterClientQuotas", "DescribeUserScramCredentials", "AlterUserScramCredentials", "DescribeQuorum",
        "UpdateFeatures", "DescribeCluster", "DescribeProducers", "DescribeTransactions", "ListTransactions",
        "ListConfigResources", "DescribeTopicPartitions");
    private static final ObjectMapper MAPPER = new ObjectMapper();

    private Main() {}

    public static void main(String[] arguments) throws Exception {
        Path directory = Path.of(arguments[0]);
        Files.createDirectories(directory);
        for (String api : APIS) {
            try (Writer out = Files.newBufferedWriter(directory.resolve(api + ".jsonl"), StandardCharsets.UTF_8)) {
                writeMessages(api, "Request", out);
                writeMessages(api, "Response", out);
            }
        }
    }

    private static void writeMessages(String api, String direction, Writer out) throws Exception {
        Schema schema = Schema.load(api + direction);
        // Only a request's definition says whether its newest version is unstable.
        Schema.Range versions = Schema.load(api + "Request").versions();
        for (int version = versions.first(); version <= versions.last(); version++) {
            for (Values.Variant variant : Values.Variant.values()) {
                JsonNode values = new Values(variant, version).struct(schema.fields());
                out.write(MAPPER.writeValueAsString(line(api, direction, schema.key(), (short) version, values)));
                out.write('\n');
            }
        }
    }

    private static ObjectNode line(String api, String direction, int key, short version, JsonNode values)
            throws ReflectiveOperationException, IOException {
        Class<?> data = Class.forName("org.apache.kafka.common.message." + api + direction + "Data");
        Class<?> converter = Class.forName(data.getName() + "JsonConverter");
        Message message = (Message) converter.getMethod("read", JsonNode.class, short.class)
            .invoke(null, values, version);
        // Serializing comes first: Kafka's JSON form is of the message as it can be read back.
        String body = Base64.getEncoder().encodeToString(serialized(message, version));
        JsonNode json = (JsonNode) converter.getMethod("write", data, short.class).invoke(null, message, version);
        restoreRecords(json, values);
        return MAPPER.createObjectNode()
            .put("api", api)
            .put("key", key)
            .put("version", version)
            .put("direction", direction.toLowerCase())
            .put("body", body)
            .set("json", json);
    }

    private static byte[] serialized(Message message, short version) {
        ByteBuffer buffer = MessageUtil.toByteBufferAccessor(message, version).buffer();
        byte[] bytes = new byte[buffer.remaining()];
        buffer.duplicate().get(bytes);
        return bytes;
    }

    /** Kafka's converters write an empty value in place of record data: put back what was read. */
    private static void restoreRecords(JsonNode json, JsonNode values) {
        if (json instanceof ArrayNode elements) {
            for (int index = 0; index < elements.size(); index++) {
                restoreRecords(elements.get(index), values.get(index));
            }
        } else if (json instanceof ObjectNode object) {
            object.fieldNames().forEachRemaining(name -> {
                if (name.equals("records") && !object.get(name).isNull()) {
                    object.set(name, values.get(name));
                } else if (values.has(name)) {
                    restoreRecords(object.get(name), values.get(name));
                }
            });
        }
    }
}
