#include "gateway/live/live.h"

#include "gateway/embedded.h"

SHOP_EMBED(shop_live_html, SHOP_LIVE_DIR "/live.html");
SHOP_EMBED(shop_live_js, SHOP_LIVE_DIR "/live.js");
SHOP_EMBED(shop_live_css, SHOP_LIVE_DIR "/live.css");

namespace shop::gateway {
namespace {

// The empty icon is a data: URL. Forms are sent by the script, never by the browser.
constexpr char kPolicy[] =
    "Content-Security-Policy: default-src 'none'; script-src 'self'; style-src 'self'; "
    "connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'\r\n";

}  // namespace

void PublishLivePage(Gateway* gateway) {
  for (const char* path : {"/live", "/live/"}) {
    gateway->Publish(path, "text/html; charset=utf-8", std::string(SHOP_EMBEDDED(shop_live_html)),
                     kPolicy);
  }
  gateway->Publish("/live/live.js", "text/javascript; charset=utf-8",
                   std::string(SHOP_EMBEDDED(shop_live_js)));
  gateway->Publish("/live/live.css", "text/css; charset=utf-8",
                   std::string(SHOP_EMBEDDED(shop_live_css)));
}

}  // namespace shop::gateway
