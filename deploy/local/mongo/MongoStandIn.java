import de.bwaldvogel.mongo.MongoServer;
import de.bwaldvogel.mongo.backend.h2.H2Backend;
import de.bwaldvogel.mongo.bson.Document;
import de.bwaldvogel.mongo.wire.message.MongoMessage;
import io.netty.channel.Channel;
import org.h2.mvstore.MVStore;

/** Speaks MongoDB's protocol over an H2 file: the local stack's stand-in for the MongoDB server. */
public class MongoStandIn {
  /** Writes to disk before it answers, so a killed process loses nothing that it has confirmed. */
  static class DurableBackend extends H2Backend {
    DurableBackend(String file) {
      super(MVStore.open(file));
    }

    @Override
    public Document handleCommand(Channel channel, String database, String name, Document query) {
      Document reply = super.handleCommand(channel, database, name, query);
      commit();
      return reply;
    }

    @Override
    public Document handleMessage(MongoMessage message) {
      Document reply = super.handleMessage(message);
      commit();
      return reply;
    }
  }

  public static void main(String[] args) {
    if (args.length != 3) {
      System.err.println("usage: MongoStandIn HOST PORT FILE");
      System.exit(2);
    }
    MongoServer server = new MongoServer(new DurableBackend(args[2]));
    Runtime.getRuntime().addShutdownHook(new Thread(server::shutdownNow));
    server.bind(args[0], Integer.parseInt(args[1]));
    System.out.println("ready on " + args[0] + ":" + args[1]);
  }
}
