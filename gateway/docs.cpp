#include "gateway/docs.h"

#include <fstream>
#include <iterator>
#include <optional>

#include "common/telemetry/log.h"
#include "gateway/openapi.h"

namespace shop::gateway {
namespace {

// The package's own page shows an example of its makers; this one shows our document.
constexpr char kPage[] = R"(<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>Shop API</title>
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

std::optional<std::string> Content(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) return std::nullopt;
  return std::string(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>());
}

}  // namespace

void PublishDocs(const std::string& swagger_ui, const Services& services, Gateway* gateway) {
  gateway->Publish("/openapi.json", "application/json", OpenApiDocument(services));
  if (swagger_ui.empty()) {
    log::Info("no Swagger UI at /docs: SWAGGER_UI_DIR is not set");
    return;
  }
  std::optional<std::string> script = Content(swagger_ui + "/swagger-ui-bundle.js");
  std::optional<std::string> style = Content(swagger_ui + "/swagger-ui.css");
  if (!script || !style) {
    log::Warning("no Swagger UI at /docs: its files are not in SWAGGER_UI_DIR",
                 {{"folder", swagger_ui}});
    return;
  }
  gateway->Publish("/docs", "text/html; charset=utf-8", kPage);
  gateway->Publish("/docs/", "text/html; charset=utf-8", kPage);
  gateway->Publish("/docs/swagger-ui-bundle.js", "text/javascript; charset=utf-8",
                   *std::move(script));
  gateway->Publish("/docs/swagger-ui.css", "text/css; charset=utf-8", *std::move(style));
}

}  // namespace shop::gateway
