#include "notification/smtp.h"

#include <curl/curl.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <mutex>
#include <new>
#include <optional>
#include <string_view>

namespace shop::notification {
namespace {

using std::chrono::steady_clock;

// How long a stopping process waits for the answer about a mail that has been transmitted. The whole
// process has to stop within ten seconds.
constexpr std::chrono::seconds kLastAnswer{4};

struct Free {
  void operator()(CURL* handle) const { curl_easy_cleanup(handle); }
  void operator()(curl_slist* list) const { curl_slist_free_all(list); }
  void operator()(CURLU* url) const { curl_url_cleanup(url); }
};

struct Url {
  explicit Url(const std::string& text) : handle(curl_url()) {
    valid = curl_url_set(handle.get(), CURLUPART_URL, text.c_str(), 0) == CURLUE_OK;
  }
  std::string Part(CURLUPart part) const {
    char* text = nullptr;
    if (!valid || curl_url_get(handle.get(), part, &text, 0) != CURLUE_OK) return {};
    std::string copy = text;
    curl_free(text);
    return copy;
  }

  std::unique_ptr<CURLU, Free> handle;
  bool valid = false;
};

// A mail that is being transmitted.
struct Upload {
  std::string_view left;
  bool recipient_named = false;  // the server was asked whether it takes mail for this recipient
  bool all_gone = false;         // libcurl has asked for more and was told that this is all
  const std::stop_token& stop;
  steady_clock::time_point impatient_at;
  std::optional<steady_clock::time_point> stopped_at = std::nullopt;
};

size_t ReadUpload(char* buffer, size_t size, size_t count, void* context) {
  auto& upload = *static_cast<Upload*>(context);
  const size_t length = std::min(size * count, upload.left.size());
  std::memcpy(buffer, upload.left.data(), length);
  upload.left.remove_prefix(length);
  if (length == 0) upload.all_gone = true;
  return length;
}

// Other than 0 makes libcurl give up.
int CheckStop(void* context, curl_off_t, curl_off_t, curl_off_t, curl_off_t) {
  auto& upload = *static_cast<Upload*>(context);
  if (!upload.all_gone && steady_clock::now() > upload.impatient_at) return 1;
  if (!upload.stop.stop_requested()) return 0;
  if (!upload.all_gone) return 1;
  if (!upload.stopped_at) upload.stopped_at = steady_clock::now();
  return steady_clock::now() - *upload.stopped_at > kLastAnswer ? 1 : 0;
}

// Sees the commands that are sent. libcurl reports only the error code, which is the same for a
// refused sender, recipient and mail.
int NoteCommand(CURL*, curl_infotype kind, char* text, size_t size, void* context) {
  auto* upload = static_cast<Upload*>(context);  // null between two mails
  if (upload != nullptr && kind == CURLINFO_HEADER_OUT &&
      std::string_view(text, size).starts_with("RCPT ")) {
    upload->recipient_named = true;
  }
  return 0;
}

MailOutcome Judge(CURLcode result, long code, const Upload& upload) {
  if (result == CURLE_OK) return MailOutcome::kSent;
  if (!upload.recipient_named) return MailOutcome::kAway;
  if (code >= 500 && code < 600) return MailOutcome::kRefused;
  if (code >= 400 && code < 500) return MailOutcome::kFailed;
  return upload.all_gone ? MailOutcome::kUnknown : MailOutcome::kFailed;
}

}  // namespace

bool IsSmtpUrl(const std::string& text) {
  const Url url(text);
  const std::string scheme = url.Part(CURLUPART_SCHEME);
  return (scheme == "smtp" || scheme == "smtps") && !url.Part(CURLUPART_HOST).empty();
}

struct Smtp::State {
  explicit State(const SmtpSettings& settings) : timeout(settings.timeout) {
    static std::once_flag once;
    std::call_once(once, [] { curl_global_init(CURL_GLOBAL_DEFAULT); });
    curl.reset(curl_easy_init());
    if (curl == nullptr) throw std::bad_alloc();
    Set(CURLOPT_URL, settings.url.c_str());
    Set(CURLOPT_PROTOCOLS_STR, "smtp,smtps");
    if (!Url(settings.url).Part(CURLUPART_USER).empty()) {
      Set(CURLOPT_USE_SSL, static_cast<long>(CURLUSESSL_ALL));
    }
    Set(CURLOPT_CONNECTTIMEOUT_MS, static_cast<long>(settings.connect_timeout.count()));
    Set(CURLOPT_NOSIGNAL, 1L);
    Set(CURLOPT_UPLOAD, 1L);
    Set(CURLOPT_READFUNCTION, ReadUpload);
    Set(CURLOPT_NOPROGRESS, 0L);
    Set(CURLOPT_XFERINFOFUNCTION, CheckStop);
    Set(CURLOPT_VERBOSE, 1L);  // to NoteCommand alone
    Set(CURLOPT_DEBUGFUNCTION, NoteCommand);
    Set(CURLOPT_ERRORBUFFER, error.data());
  }

  template <typename Value>
  void Set(CURLoption option, Value value) {
    curl_easy_setopt(curl.get(), option, value);
  }

  template <typename Value>
  Value Get(CURLINFO info) const {
    Value value{};
    curl_easy_getinfo(curl.get(), info, &value);
    return value;
  }

  CURLcode Perform(steady_clock::time_point until) {
    using std::chrono::milliseconds;
    const auto left = std::chrono::ceil<milliseconds>(until - steady_clock::now());
    Set(CURLOPT_TIMEOUT_MS, static_cast<long>(std::max(left, milliseconds(1)).count()));  // 0: none
    error[0] = '\0';
    return curl_easy_perform(curl.get());
  }

  // Whether this was a connection kept from an earlier mail that the server has closed, with or
  // without a 421. That says nothing about the server's health. A time-out is none of these errors.
  bool WasClosed(CURLcode result) const {
    const long code = Get<long>(CURLINFO_RESPONSE_CODE);
    return (result == CURLE_SEND_ERROR || result == CURLE_RECV_ERROR) &&
           (code == 0 || code == 421) && Get<long>(CURLINFO_NUM_CONNECTS) == 0;
  }

  const std::chrono::milliseconds timeout;
  std::array<char, CURL_ERROR_SIZE> error{};
  std::unique_ptr<CURL, Free> curl;
};

Smtp::Smtp(const SmtpSettings& settings) : state_(std::make_unique<State>(settings)) {}

Smtp::~Smtp() = default;

MailAnswer Smtp::Send(const std::string& from, const std::string& to, const std::string& mail,
                      std::chrono::milliseconds patience, const std::stop_token& stop) {
  const std::unique_ptr<curl_slist, Free> recipients(
      curl_slist_append(nullptr, ("<" + to + ">").c_str()));
  Upload upload{.left = mail, .stop = stop, .impatient_at = steady_clock::now() + patience};
  state_->Set(CURLOPT_MAIL_FROM, ("<" + from + ">").c_str());
  state_->Set(CURLOPT_MAIL_RCPT, recipients.get());
  state_->Set(CURLOPT_READDATA, &upload);
  state_->Set(CURLOPT_XFERINFODATA, &upload);
  state_->Set(CURLOPT_DEBUGDATA, &upload);
  const steady_clock::time_point until = steady_clock::now() + state_->timeout;
  CURLcode result = state_->Perform(until);
  if (!upload.recipient_named && state_->WasClosed(result)) {
    state_->Set(CURLOPT_FRESH_CONNECT, 1L);
    result = state_->Perform(until);
    state_->Set(CURLOPT_FRESH_CONNECT, 0L);
  }
  const long code = state_->Get<long>(CURLINFO_RESPONSE_CODE);
  state_->Set(CURLOPT_MAIL_RCPT, static_cast<curl_slist*>(nullptr));
  state_->Set(CURLOPT_DEBUGDATA, static_cast<Upload*>(nullptr));

  std::string why;
  if (result != CURLE_OK) {
    why = state_->error[0] != '\0' ? state_->error.data() : curl_easy_strerror(result);
    if (code != 0) why += " (last answer " + std::to_string(code) + ")";
  }
  return {Judge(result, code, upload), why};
}

}  // namespace shop::notification
