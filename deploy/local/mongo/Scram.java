import static java.nio.charset.StandardCharsets.UTF_8;

import de.bwaldvogel.mongo.bson.BinData;
import de.bwaldvogel.mongo.bson.Document;
import de.bwaldvogel.mongo.exception.MongoServerError;
import java.security.GeneralSecurityException;
import java.security.MessageDigest;
import java.security.SecureRandom;
import java.util.Base64;
import java.util.HashMap;
import java.util.Map;
import javax.crypto.Mac;
import javax.crypto.SecretKeyFactory;
import javax.crypto.spec.PBEKeySpec;
import javax.crypto.spec.SecretKeySpec;

/** The server's side of SCRAM-SHA-256 (RFC 5802, RFC 7677) for one user, as MongoDB carries it. */
class Scram {
  private static final int ITERATIONS = 15_000; // as MongoDB's own

  private final String user;
  private final byte[] salt = random(28);
  private final byte[] storedKey;
  private final byte[] serverKey;

  Scram(String user, String password) throws GeneralSecurityException {
    this.user = user;
    byte[] salted =
        SecretKeyFactory.getInstance("PBKDF2WithHmacSHA256")
            .generateSecret(new PBEKeySpec(password.toCharArray(), salt, ITERATIONS, 256))
            .getEncoded();
    storedKey = sha256(hmac(salted, "Client Key"));
    serverKey = hmac(salted, "Server Key");
  }

  /** One connection's. */
  class Login {
    private String nonce;
    private String messages; // of both sides, which both sign
    private boolean done;

    boolean done() {
      return done;
    }

    Document start(Document query) {
      if (!"SCRAM-SHA-256".equals(query.get("mechanism"))) {
        throw new MongoServerError(334, "MechanismUnavailable", "SCRAM-SHA-256 is the one there is");
      }
      String first = payload(query);
      String bare = first.substring(first.indexOf("n=")); // without the header about channel binding
      Map<String, String> said = parts(bare);
      if (!user.equals(said.get("n")) || said.get("r") == null) {
        throw failed();
      }
      nonce = said.get("r") + Base64.getEncoder().encodeToString(random(24));
      String challenge =
          "r=" + nonce + ",s=" + Base64.getEncoder().encodeToString(salt) + ",i=" + ITERATIONS;
      messages = bare + "," + challenge;
      return reply(challenge, false);
    }

    Document proceed(Document query) {
      if (done) {
        return reply("", true); // clients that take the server's signature for one more step
      }
      String last = payload(query);
      int proofAt = last.lastIndexOf(",p=");
      if (nonce == null || proofAt < 0 || !nonce.equals(parts(last).get("r"))) {
        throw failed();
      }
      nonce = null; // a challenge is good once
      String signed = messages + "," + last.substring(0, proofAt);
      byte[] proof = Base64.getDecoder().decode(last.substring(proofAt + 3));
      byte[] signature = hmac(storedKey, signed);
      if (proof.length != signature.length) {
        throw failed();
      }
      for (int i = 0; i < proof.length; i++) {
        proof[i] ^= signature[i];
      }
      if (!MessageDigest.isEqual(sha256(proof), storedKey)) {
        throw failed();
      }
      done = true;
      return reply("v=" + Base64.getEncoder().encodeToString(hmac(serverKey, signed)), false);
    }
  }

  private static MongoServerError failed() {
    return new MongoServerError(18, "AuthenticationFailed", "Authentication failed.");
  }

  private static String payload(Document query) {
    if (query.get("payload") instanceof BinData data) {
      return new String(data.getData(), UTF_8);
    }
    if (query.get("payload") instanceof byte[] data) {
      return new String(data, UTF_8);
    }
    throw failed();
  }

  private static Document reply(String payload, boolean over) {
    return new Document("conversationId", 1)
        .append("done", over)
        .append("payload", new BinData(payload.getBytes(UTF_8)))
        .append("ok", 1.0);
  }

  /** `a=x,b=y`, by letter. */
  private static Map<String, String> parts(String message) {
    Map<String, String> found = new HashMap<>();
    for (String part : message.split(",")) {
      if (part.length() > 1 && part.charAt(1) == '=') {
        found.put(part.substring(0, 1), part.substring(2));
      }
    }
    return found;
  }

  private static byte[] random(int count) {
    byte[] bytes = new byte[count];
    new SecureRandom().nextBytes(bytes);
    return bytes;
  }

  private static byte[] hmac(byte[] key, String text) {
    try {
      Mac mac = Mac.getInstance("HmacSHA256");
      mac.init(new SecretKeySpec(key, "HmacSHA256"));
      return mac.doFinal(text.getBytes(UTF_8));
    } catch (GeneralSecurityException missing) {
      throw new IllegalStateException(missing);
    }
  }

  private static byte[] sha256(byte[] bytes) {
    try {
      return MessageDigest.getInstance("SHA-256").digest(bytes);
    } catch (GeneralSecurityException missing) {
      throw new IllegalStateException(missing);
    }
  }
}
