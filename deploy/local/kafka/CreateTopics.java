import java.util.ArrayList;
import java.util.Collection;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.AlterConfigOp;
import org.apache.kafka.clients.admin.Config;
import org.apache.kafka.clients.admin.ConfigEntry;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.common.config.ConfigResource;

/**
 * Makes the topics NAME:PARTITIONS[:REPLICAS[:SETTING=VALUE,...]] that do not exist yet, and gives those that do
 * the settings named, all in one JVM. Partitions and replicas of a topic stay as it was made.
 */
public class CreateTopics {
  public static void main(String[] args) throws Exception {
    if (args.length < 2) {
      System.err.println("usage: CreateTopics BOOTSTRAP_SERVERS NAME:PARTITIONS[:REPLICAS[:SETTING=VALUE,...]]...");
      System.exit(2);
    }
    try (Admin admin = Admin.create(Map.of("bootstrap.servers", args[0]))) {
      Set<String> present = new HashSet<>(admin.listTopics().names().get());
      List<NewTopic> missing = new ArrayList<>();
      Map<String, Map<String, String>> wanted = new HashMap<>();
      for (int i = 1; i < args.length; i++) {
        String[] topic = args[i].split(":");
        Map<String, String> settings = topic.length > 3 ? settings(topic[3]) : Map.of();
        if (present.contains(topic[0])) {
          wanted.put(topic[0], settings);
        } else {
          short replicas = topic.length > 2 ? Short.parseShort(topic[2]) : 1;
          missing.add(new NewTopic(topic[0], Integer.parseInt(topic[1]), replicas).configs(settings));
        }
      }
      admin.createTopics(missing).all().get();
      apply(admin, wanted);
    }
  }

  private static Map<String, String> settings(String text) {
    Map<String, String> settings = new HashMap<>();
    for (String setting : text.split(",")) {
      String[] parts = setting.split("=", 2);
      settings.put(parts[0], parts[1]);
    }
    return settings;
  }

  private static ConfigResource resource(String topic) {
    return new ConfigResource(ConfigResource.Type.TOPIC, topic);
  }

  /** Changes what differs, and says so. */
  private static void apply(Admin admin, Map<String, Map<String, String>> wanted) throws Exception {
    List<ConfigResource> topics = wanted.keySet().stream().map(CreateTopics::resource).toList();
    Map<ConfigResource, Config> known = admin.describeConfigs(topics).all().get();
    Map<ConfigResource, Collection<AlterConfigOp>> changes = new HashMap<>();
    wanted.forEach((topic, settings) -> settings.forEach((name, value) -> {
      ConfigEntry entry = known.get(resource(topic)).get(name);
      if (entry.source() == ConfigEntry.ConfigSource.DYNAMIC_TOPIC_CONFIG && value.equals(entry.value())) {
        return;
      }
      System.out.println("topic " + topic + ": " + name + " is now " + value + ", was " + entry.value());
      changes.computeIfAbsent(resource(topic), key -> new ArrayList<>())
          .add(new AlterConfigOp(new ConfigEntry(name, value), AlterConfigOp.OpType.SET));
    }));
    admin.incrementalAlterConfigs(changes).all().get();
  }
}
