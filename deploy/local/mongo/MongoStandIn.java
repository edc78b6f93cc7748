import de.bwaldvogel.mongo.MongoServer;
import de.bwaldvogel.mongo.backend.QueryResult;
import de.bwaldvogel.mongo.backend.h2.H2Backend;
import de.bwaldvogel.mongo.bson.Document;
import de.bwaldvogel.mongo.exception.MongoServerError;
import de.bwaldvogel.mongo.wire.message.MongoMessage;
import de.bwaldvogel.mongo.wire.message.MongoQuery;
import io.netty.channel.Channel;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import org.h2.mvstore.MVStore;

/**
 * Speaks MongoDB's protocol over an H2 file: the local stack's stand-in for the MongoDB server.
 *
 * <p>With a password, the user `cart` has to log in (SCRAM-SHA-256) before anything is answered.
 */
public class MongoStandIn {
  /** Writes to disk before it answers, so a killed process loses nothing that it has confirmed. */
  static class DurableBackend extends H2Backend {
    // What a client asks before it logs in.
    private static final Set<String> OPEN = Set.of("hello", "ismaster", "ping", "buildinfo");

    private final Scram scram; // null: everybody may do everything
    private final Map<Channel, Scram.Login> logins = new ConcurrentHashMap<>();

    DurableBackend(String file, Scram scram) {
      super(MVStore.open(file));
      this.scram = scram;
    }

    @Override
    public void handleClose(Channel channel) {
      logins.remove(channel);
      super.handleClose(channel);
    }

    @Override
    public Document handleCommand(Channel channel, String database, String name, Document query) {
      Document reply = logIn(channel, name, query);
      if (reply == null) {
        reply = super.handleCommand(channel, database, name, query);
        commit();
      }
      return reply;
    }

    @Override
    public Document handleMessage(MongoMessage message) {
      Document query = message.getDocument();
      Document reply = logIn(message.getChannel(), query.keySet().iterator().next(), query);
      if (reply == null) {
        reply = super.handleMessage(message);
        commit();
      }
      return reply;
    }

    @Override
    public QueryResult handleQuery(MongoQuery query) {
      refuseStrangers(query.getChannel(), "find");
      return super.handleQuery(query);
    }

    /** The reply to a command of a login; null for any other that may go on. */
    private Document logIn(Channel channel, String name, Document query) {
      if (scram == null) {
        return null;
      }
      switch (name.toLowerCase()) {
        case "saslstart":
          Scram.Login login = scram.new Login();
          logins.put(channel, login);
          return login.start(query);
        case "saslcontinue":
          return logins.computeIfAbsent(channel, unknown -> scram.new Login()).proceed(query);
        default:
          refuseStrangers(channel, name.toLowerCase());
          return null;
      }
    }

    private void refuseStrangers(Channel channel, String name) {
      if (scram == null || OPEN.contains(name)) {
        return;
      }
      Scram.Login login = logins.get(channel);
      if (login == null || !login.done()) {
        throw new MongoServerError(13, "Unauthorized", "command " + name + " requires authentication");
      }
    }
  }

  public static void main(String[] args) throws Exception {
    if (args.length < 3 || args.length > 4) {
      System.err.println("usage: MongoStandIn HOST PORT FILE [FILE WITH THE PASSWORD OF cart]");
      System.exit(2);
    }
    Scram scram = args.length == 4 ? new Scram("cart", Files.readString(Path.of(args[3]))) : null;
    MongoServer server = new MongoServer(new DurableBackend(args[2], scram));
    Runtime.getRuntime().addShutdownHook(new Thread(server::shutdownNow));
    server.bind(args[0], Integer.parseInt(args[1]));
    System.out.println("ready on " + args[0] + ":" + args[1]);
  }
}
