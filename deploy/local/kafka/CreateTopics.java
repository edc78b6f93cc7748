import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.NewTopic;

/** Makes the topics NAME:PARTITIONS that do not exist yet, all in one JVM and one request. */
public class CreateTopics {
  public static void main(String[] args) throws Exception {
    if (args.length < 2) {
      System.err.println("usage: CreateTopics BOOTSTRAP_SERVERS NAME:PARTITIONS...");
      System.exit(2);
    }
    try (Admin admin = Admin.create(Map.of("bootstrap.servers", args[0]))) {
      Set<String> present = new HashSet<>(admin.listTopics().names().get());
      List<NewTopic> missing = new ArrayList<>();
      for (int i = 1; i < args.length; i++) {
        String[] topic = args[i].split(":");
        if (!present.contains(topic[0])) {
          missing.add(new NewTopic(topic[0], Integer.parseInt(topic[1]), (short) 1));
        }
      }
      admin.createTopics(missing).all().get();
    }
  }
}
