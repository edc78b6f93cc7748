#include "common/http/http_client.h"

#include <curl/curl.h>

#include <array>
#include <mutex>
#include <new>
#include <utility>

#include "common/telemetry/span.h"

namespace shop {
namespace {

struct Free {
  void operator()(CURL* handle) const { curl_easy_cleanup(handle); }
  void operator()(curl_slist* list) const { curl_slist_free_all(list); }
  void operator()(CURLU* url) const { curl_url_cleanup(url); }
};
using Handle = std::unique_ptr<CURL, Free>;
using List = std::unique_ptr<curl_slist, Free>;

struct Incoming {
  std::string* body;
  size_t most;
};

// Less than it was given makes libcurl give up.
size_t TakeBody(char* bytes, size_t size, size_t count, void* context) {
  const auto& incoming = *static_cast<Incoming*>(context);
  if (incoming.body->size() + size * count > incoming.most) return 0;
  incoming.body->append(bytes, size * count);
  return size * count;
}

// Other than 0 makes libcurl give up.
int CheckStop(void* context, curl_off_t, curl_off_t, curl_off_t, curl_off_t) {
  return static_cast<const std::stop_token*>(context)->stop_requested() ? 1 : 0;
}

template <typename Value>
void Set(const Handle& handle, CURLoption option, Value value) {
  curl_easy_setopt(handle.get(), option, value);
}

}  // namespace

bool IsHttpUrl(const std::string& text) {
  const std::unique_ptr<CURLU, Free> url(curl_url());
  char* scheme = nullptr;
  if (curl_url_set(url.get(), CURLUPART_URL, text.c_str(), 0) != CURLUE_OK ||
      curl_url_get(url.get(), CURLUPART_SCHEME, &scheme, 0) != CURLUE_OK) {
    return false;
  }
  const std::string found = scheme;
  curl_free(scheme);
  return found == "http" || found == "https";
}

struct HttpClient::State {
  explicit State(const Settings& chosen) : settings(chosen) {
    static std::once_flag once;
    std::call_once(once, [] { curl_global_init(CURL_GLOBAL_DEFAULT); });
  }

  // Each has a connection of its own.
  Handle Take() {
    {
      const std::lock_guard lock(mutex);
      if (!idle.empty()) {
        Handle handle = std::move(idle.back());
        idle.pop_back();
        return handle;
      }
    }
    Handle handle(curl_easy_init());
    if (handle == nullptr) throw std::bad_alloc();
    return handle;
  }

  HttpReply Send(const HttpCall& call, const Span& span, const std::stop_token& stop);

  void GiveBack(Handle handle) {
    curl_easy_reset(handle.get());  // keeps the connection
    const std::lock_guard lock(mutex);
    idle.push_back(std::move(handle));
  }

  const Settings settings;
  std::mutex mutex;
  std::vector<Handle> idle;
};

HttpClient::HttpClient(const Settings& settings) : state_(std::make_unique<State>(settings)) {}

HttpClient::~HttpClient() = default;

HttpReply HttpClient::Send(const HttpCall& call, const std::stop_token& stop) {
  Span span(SpanKind::kClient, call.method);
  HttpReply reply = state_->Send(call, span, stop);
  span.Set("http.request.method", call.method);
  span.Set("url.full", call.url);
  if (reply.status != 0) span.Set("http.response.status_code", reply.status);
  if (reply.status == 0 || reply.status >= 400) span.Fail(reply.error);
  return reply;
}

HttpReply HttpClient::State::Send(const HttpCall& call, const Span& span,
                                  const std::stop_token& stop) {
  Handle handle = Take();
  HttpReply reply;
  Incoming incoming{&reply.body, settings.max_body_bytes};
  std::array<char, CURL_ERROR_SIZE> error{};
  curl_slist* lines = curl_slist_append(nullptr, ("Content-Type: " + call.content_type).c_str());
  lines = curl_slist_append(lines, "Expect:");  // no wait for 100 Continue
  for (const std::string& header : call.headers) lines = curl_slist_append(lines, header.c_str());
  if (span)
    lines = curl_slist_append(lines, ("traceparent: " + span.ContextOr({}).Header()).c_str());
  const List headers(lines);

  Set(handle, CURLOPT_URL, call.url.c_str());
  Set(handle, CURLOPT_PROTOCOLS_STR, "http,https");
  Set(handle, CURLOPT_HTTP_VERSION, static_cast<long>(CURL_HTTP_VERSION_1_1));
  Set(handle, CURLOPT_CUSTOMREQUEST, call.method.c_str());
  Set(handle, CURLOPT_HTTPHEADER, headers.get());
  if (call.method != "GET") {
    Set(handle, CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(call.body.size()));
    Set(handle, CURLOPT_POSTFIELDS, call.body.c_str());
  }
  Set(handle, CURLOPT_CONNECTTIMEOUT_MS, static_cast<long>(settings.connect_timeout.count()));
  Set(handle, CURLOPT_TIMEOUT_MS, static_cast<long>(settings.timeout.count()));
  if (!settings.ca_file.empty()) {
    Set(handle, CURLOPT_CAINFO, settings.ca_file.c_str());
  }
  Set(handle, CURLOPT_NOSIGNAL, 1L);
  Set(handle, CURLOPT_NOPROGRESS, 0L);
  Set(handle, CURLOPT_XFERINFOFUNCTION, CheckStop);
  Set(handle, CURLOPT_XFERINFODATA, const_cast<std::stop_token*>(&stop));
  Set(handle, CURLOPT_WRITEFUNCTION, TakeBody);
  Set(handle, CURLOPT_WRITEDATA, &incoming);
  Set(handle, CURLOPT_ERRORBUFFER, error.data());

  const CURLcode result = curl_easy_perform(handle.get());
  if (result == CURLE_OK) {
    long status = 0;
    curl_easy_getinfo(handle.get(), CURLINFO_RESPONSE_CODE, &status);
    reply.status = static_cast<int>(status);
  } else {
    reply.body.clear();
    reply.error = error[0] != '\0' ? error.data() : curl_easy_strerror(result);
  }
  GiveBack(std::move(handle));
  return reply;
}

}  // namespace shop
