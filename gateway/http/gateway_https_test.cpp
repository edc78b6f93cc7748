// HTTPS. The other tests of the whole gateway, many of which run over it too, have what is the same without.
#include "gateway/http/https.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <openssl/bn.h>
#include <openssl/ssl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <string>

#include "common/testing/servers.h"
#include "gateway/testing/fixture.h"

namespace shop::gateway {
namespace {

using shop::testing::Eventually;
using std::chrono::milliseconds;

[[maybe_unused]] const int speak_tls = setenv("SHOP_TEST_HTTPS", "1", 1);

class HttpsTest : public GatewayTest {
 protected:
  // What comes out of a handshake.
  struct Shaken {
    bool done = false;
    std::string version;
    std::string protocol;     // by ALPN
    std::string serial = {};  // of the certificate
  };

  Shaken Shake(const std::function<void(SSL_CTX*)>& prepare) {
    const int socket = Connect();
    SSL_CTX* context = SSL_CTX_new(TLS_client_method());
    prepare(context);
    SSL* tls = SSL_new(context);
    SSL_set_fd(tls, socket);
    Shaken shaken;
    // In TLS 1.3 the client has done its part before the server has spoken: what it answers decides.
    shaken.done = SSL_connect(tls) == 1 && SSL_write(tls, "GET / HTTP/1.1\r\n\r\n", 18) == 18;
    char byte = 0;
    shaken.done = shaken.done && SSL_read(tls, &byte, 1) == 1;
    shaken.version = SSL_get_version(tls);
    const unsigned char* protocol = nullptr;
    unsigned length = 0;
    SSL_get0_alpn_selected(tls, &protocol, &length);
    shaken.protocol.assign(reinterpret_cast<const char*>(protocol), length);
    if (X509* certificate = SSL_get0_peer_certificate(tls)) {
      BIGNUM* number = ASN1_INTEGER_to_BN(X509_get0_serialNumber(certificate), nullptr);
      char* text = BN_bn2dec(number);
      shaken.serial = text;
      OPENSSL_free(text);
      BN_free(number);
    }
    SSL_free(tls);
    SSL_CTX_free(context);
    ::close(socket);
    return shaken;
  }
  static void Offer(SSL_CTX* context, const std::string& protocols) {
    SSL_CTX_set_alpn_protos(context, reinterpret_cast<const unsigned char*>(protocols.data()),
                            static_cast<unsigned>(protocols.size()));
  }

  int Connect() {
    const int socket = ::socket(AF_INET, SOCK_STREAM, 0);
    const timeval limit{10, 0};
    setsockopt(socket, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.sin_port = htons(port());
    EXPECT_EQ(::connect(socket, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
    return socket;
  }
};

TEST_F(HttpsTest, RequestsAreAnsweredOneAfterTheOtherOnAConnection) {
  Client client(port());
  for (int i = 0; i < 3; ++i) {
    ASSERT_TRUE(client.Send(Get("/api/v1/books/7")));
    EXPECT_EQ(client.Receive().text("/data/id"), "7");
  }
}

TEST_F(HttpsTest, SpeaksTls12And13AndNothingBefore) {
  const auto with = [this](int version) {
    return Shake([version](SSL_CTX* context) {
      SSL_CTX_set_security_level(context, 0);
      SSL_CTX_set_min_proto_version(context, version);
      SSL_CTX_set_max_proto_version(context, version);
    });
  };
  EXPECT_EQ(with(TLS1_3_VERSION).version, "TLSv1.3");
  EXPECT_TRUE(with(TLS1_3_VERSION).done);
  EXPECT_TRUE(with(TLS1_2_VERSION).done);
  EXPECT_FALSE(with(TLS1_1_VERSION).done);
  EXPECT_FALSE(with(TLS1_VERSION).done);
}

TEST_F(HttpsTest, CiphersWithoutForwardSecrecyOrAuthenticationAreRefused) {
  const auto with = [this](const char* ciphers) {
    return Shake([ciphers](SSL_CTX* context) {
      SSL_CTX_set_max_proto_version(context, TLS1_2_VERSION);
      SSL_CTX_set_security_level(context, 0);
      ASSERT_EQ(SSL_CTX_set_cipher_list(context, ciphers), 1);
    });
  };
  EXPECT_TRUE(with("ECDHE-ECDSA-AES128-GCM-SHA256").done);
  EXPECT_FALSE(with("ECDHE-ECDSA-AES128-SHA").done);
  EXPECT_FALSE(with("AES128-GCM-SHA256").done);
}

TEST_F(HttpsTest, OfProtocolsItChoosesHttp11) {
  EXPECT_EQ(Shake([](SSL_CTX* context) { Offer(context, "\x02h2\x08http/1.1"); }).protocol,
            "http/1.1");
  EXPECT_TRUE(Shake([](SSL_CTX*) {}).done) << "a client that names none";
  EXPECT_FALSE(Shake([](SSL_CTX* context) { Offer(context, "\x02h2"); }).done);
}

TEST_F(HttpsTest, WhoSpeaksNoTlsIsToldNothing) {
  const int socket = Connect();
  const std::string request = Get("/api/v1/books/7");
  ::send(socket, request.data(), request.size(), MSG_NOSIGNAL);
  std::string answer(4096, '\0');
  const ssize_t got = ::recv(socket, answer.data(), answer.size(), 0);
  EXPECT_EQ(answer.substr(0, static_cast<size_t>(std::max<ssize_t>(got, 0))).find("HTTP"),
            std::string::npos);
  ::close(socket);
  EXPECT_EQ(Exchange(Get("/api/v1/books/7")).status, 200);
}

TEST_F(HttpsTest, AHandshakeThatDoesNotComeEndsTheConnection) {
  http_.header_timeout = milliseconds(300);
  const int socket = Connect();
  char byte = 0;
  EXPECT_EQ(::recv(socket, &byte, 1, 0), 0);
  ::close(socket);
}

TEST_F(HttpsTest, TheEndOfAConnectionIsAnnounced) {
  Client client(port());
  client.Send(Get("/api/v1/books/7", "Connection: close\r\n"));
  EXPECT_EQ(client.Receive().status, 200);
  EXPECT_TRUE(client.WasToldOfTheEnd());
  http_.idle_timeout = milliseconds(300);
  server_.reset();
  Start();
  Client idle(port());
  EXPECT_TRUE(idle.WasToldOfTheEnd());
}

TEST_F(HttpsTest, BrowsersAreToldToComeByNothingElseWhereThatIsWanted) {
  EXPECT_FALSE(Exchange(Get("/api/v1/books/7")).headers.contains("strict-transport-security"));
  settings_.hsts = std::chrono::hours(1);
  server_.reset();
  Start();
  EXPECT_EQ(Exchange(Get("/api/v1/books/7")).headers.at("strict-transport-security"),
            "max-age=3600");
}

TEST_F(HttpsTest, AnIdleConnectionDoesNotKeepItFromStopping) {
  Client client(port());
  client.Send(Get("/api/v1/books/7"));
  EXPECT_EQ(client.Receive().status, 200);
  const auto begin = std::chrono::steady_clock::now();
  server_.reset();
  EXPECT_LT(std::chrono::steady_clock::now() - begin, http_.grace);
}

TEST_F(HttpsTest, ARenewedCertificateIsShownWithoutARestart) {
  const auto serial = [this] { return Shake([](SSL_CTX*) {}).serial; };
  const std::string before = serial();
  ASSERT_FALSE(before.empty());
  NewCertificate();
  EXPECT_TRUE(Eventually([&] { return serial() != before; }));
  EXPECT_TRUE(Shake([](SSL_CTX*) {}).done);
}

TEST(Https, ACertificateThatIsOfNoUseIsNotTaken) {
  const TlsFiles files = NewCertificate();
  Https https(files, milliseconds(0));
  const auto* before = &https.Context();
  std::ofstream(files.certificate) << "no certificate";
  EXPECT_EQ(&https.Context(), before);
  std::filesystem::remove(files.key);
  EXPECT_EQ(&https.Context(), before);
  NewCertificate();
  EXPECT_NE(&https.Context(), before);
}

TEST(Https, DoesNotStartWithACertificateOfNoUse) {
  TlsFiles files = NewCertificate();
  files.key = files.ca;
  EXPECT_THROW(Https{files}, std::runtime_error);
}

}  // namespace
}  // namespace shop::gateway
