#include "gateway/openapi/docs.h"

#include <fstream>
#include <iterator>
#include <optional>
#include <utility>

#include "common/crypto/base64.h"
#include "common/crypto/sha256.h"
#include "common/telemetry/log.h"
#include "gateway/openapi/asyncapi.h"
#include "gateway/openapi/document.h"
#include "gateway/services.h"

namespace shop::gateway {
namespace {

// The sources (CSP, level 3) of what stands between the tags `name` of `page`: the hash of each.
std::string InlineSources(const std::string& page, const std::string& name) {
  const std::string end = "</" + name + ">";
  std::string sources;
  for (size_t at = 0; (at = page.find("<" + name + ">", at)) != std::string::npos;) {
    at += name.size() + 2;
    const size_t close = page.find(end, at);
    sources += " 'sha256-" + EncodeBase64(Sha256(page.substr(at, close - at))) + "'";
    at = close;
  }
  return sources;
}

// A page, which loads and asks for nothing but the gateway's own, runs no script but what it came with,
// and is shown in no frame. `styles` allows styles beside the page's own.
void PublishPage(const std::string& path, std::string page, const std::string& styles,
                 Gateway* gateway) {
  std::string policy =
      "Content-Security-Policy: default-src 'none'; script-src 'self'" +
      InlineSources(page, "script") + "; style-src 'self'" +
      (styles.empty() ? InlineSources(page, "style") : styles) +
      "; connect-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'none'; "
      "frame-ancestors 'none'\r\n";
  gateway->Publish(path, "text/html; charset=utf-8", std::move(page), std::move(policy));
}

// The package's own page shows an example of its makers; this one shows our document.
constexpr char kPage[] = R"(<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>Shop API</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="/docs/swagger-ui.css">
</head>
<body>
<div id="swagger-ui"></div>
<script src="/docs/swagger-ui-bundle.js"></script>
<script>
SwaggerUIBundle({url: "/openapi.json", dom_id: "#swagger-ui", persistAuthorization: true});
</script>
</body>
</html>
)";

// What is found at the root by who has nothing but the address.
std::string FrontPage(bool with_docs) {
  const std::string docs =
      with_docs
          ? R"(<li><a href="/docs">/docs</a>: every operation, to read and to try (Swagger UI)</li>)"
          : "";
  return R"(<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>Shop API</title>
<link rel="icon" href="data:,">
<style>body {font: 1em/1.5 sans-serif; max-width: 42em; margin: 3em auto; padding: 0 1em}</style>
</head>
<body>
<h1>Shop API</h1>
<p>The backend of a shop: users, products, carts, orders and shipments, as JSON over HTTP under
<code>/api/v1</code>. What is public needs no token; for the rest, log in
(<code>POST /api/v1/auth/login</code>) and send <code>Authorization: Bearer</code> with the
<code>accessToken</code>.</p>
<ul>
)" + docs +
         R"(
<li><a href="/live">/live</a>: place an order and watch its way through the services</li>
<li><a href="/openapi.json">/openapi.json</a>: the same for programs (OpenAPI 3.1)</li>
<li><a href="/docs/events">/docs/events</a>: what is published on Kafka, and
<a href="/asyncapi.json">/asyncapi.json</a>: the same for programs (AsyncAPI 3.0)</li>
<li><a href="/api/v1/products">/api/v1/products</a>: the catalogue, a first thing to ask for</li>
<li><a href="/.well-known/jwks.json">/.well-known/jwks.json</a>: the keys that access tokens are checked with</li>
<li><a href="/healthz">/healthz</a>: whether the gateway runs; <a href="/readyz">/readyz</a>: whether it can serve</li>
</ul>
</body>
</html>
)";
}

std::optional<std::string> Content(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) return std::nullopt;
  return std::string(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>());
}

// Whether Swagger UI is there to be shown.
bool PublishSwaggerUi(const std::string& folder, Gateway* gateway) {
  if (folder.empty()) {
    log::Info("no Swagger UI at /docs: SWAGGER_UI_DIR is not set");
    return false;
  }
  std::optional<std::string> script = Content(folder + "/swagger-ui-bundle.js");
  std::optional<std::string> style = Content(folder + "/swagger-ui.css");
  if (!script || !style) {
    log::Warning("no Swagger UI at /docs: its files are not in SWAGGER_UI_DIR",
                 {{"folder", folder}});
    return false;
  }
  for (const char* path : {"/docs", "/docs/"})
    PublishPage(path, kPage, " 'unsafe-inline'", gateway);
  gateway->Publish("/docs/swagger-ui-bundle.js", "text/javascript; charset=utf-8",
                   *std::move(script));
  gateway->Publish("/docs/swagger-ui.css", "text/css; charset=utf-8", *std::move(style));
  return true;
}

}  // namespace

void PublishDocs(const std::string& swagger_ui, const Services& services, Gateway* gateway) {
  gateway->Publish("/openapi.json", "application/json", OpenApiDocument(services));
  gateway->Publish("/asyncapi.json", "application/json", AsyncApiDocument(DeclaredEvents()));
  PublishPage("/docs/events", EventsPage(), "", gateway);
  const bool with_docs = PublishSwaggerUi(swagger_ui, gateway);
  PublishPage("/", FrontPage(with_docs), "", gateway);
}

}  // namespace shop::gateway
