#include "provider/background.h"

#include <absl/strings/escaping.h>

#include <algorithm>
#include <condition_variable>
#include <ctime>
#include <mutex>
#include <thread>
#include <utility>

#include "common/crypto/sha256.h"
#include "common/http/http_client.h"
#include "common/telemetry/log.h"

namespace shop::provider {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kTimeout{5'000};
constexpr milliseconds kLease{30'000};
constexpr int kAtOnce = 4;  // taken together, sent one after the other

}  // namespace

std::string Signature(const std::string& secret, int64_t unix_seconds, std::string_view body) {
  const std::string time = std::to_string(unix_seconds);
  return "t=" + time +
         ",v1=" + absl::BytesToHexString(HmacSha256(secret, time + "." + std::string(body)));
}

struct Background::State {
  State(Ledger& book, const WebhookSettings& settings, milliseconds every)
      : ledger(book),
        webhooks(settings),
        poll(every),
        client({.timeout = kTimeout, .ca_file = settings.ca_file}),
        thread([this](const std::stop_token& stop) { Run(stop); }) {}

  void Run(const std::stop_token& stop) {
    bool broken = false;
    while (!stop.stop_requested()) {
      bool found = false;
      try {
        found = ledger.DecideDue() > 0;
        if (!webhooks.url.empty()) {
          for (const Webhook& webhook : ledger.TakeWebhooks(kAtOnce, kLease)) {
            Send(webhook, stop);
            found = true;
          }
        }
        broken = false;
      } catch (const std::exception& error) {
        if (!std::exchange(broken, true)) {
          log::Warning("the ledger is away", {{"error", error.what()}});
        }
      }
      if (found) continue;
      std::unique_lock lock(mutex);
      wake.wait_for(lock, stop, poll, [] { return false; });
    }
  }

  void Send(const Webhook& webhook, const std::stop_token& stop) {
    const HttpReply reply =
        client.Send({.method = "POST",
                     .url = webhooks.url,
                     .headers = {"Provider-Signature: " +
                                 Signature(webhooks.secret, std::time(nullptr), webhook.body)},
                     .body = webhook.body},
                    stop);
    if (reply.status >= 200 && reply.status < 300) {
      ledger.MarkSent(webhook);
      return;
    }
    const milliseconds pause =
        std::min(webhooks.first_pause * (1 << std::clamp(webhook.attempt - 1, 0, 20)),
                 webhooks.longest_pause);
    log::Info("a webhook was not taken, it will be sent again",
              {{"status", reply.status}, {"error", reply.error}, {"pauseMs", pause.count()}});
    ledger.SendLater(webhook, pause);
  }

  Ledger& ledger;
  const WebhookSettings webhooks;
  const milliseconds poll;
  HttpClient client;
  std::mutex mutex;
  std::condition_variable_any wake;
  std::jthread thread;  // the last: it uses the others
};

Background::Background(Ledger& ledger, const WebhookSettings& webhooks, milliseconds poll)
    : state_(std::make_unique<State>(ledger, webhooks, poll)) {}

Background::~Background() = default;

}  // namespace shop::provider
