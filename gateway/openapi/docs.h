#pragma once

#include <string>

#include "gateway/gateway.h"

namespace shop::gateway {

// Publishes the OpenAPI document at /openapi.json, where `swagger_ui` names the folder of the
// swagger-ui-dist package Swagger UI at /docs, the AsyncAPI document of the events at /asyncapi.json
// with a page that shows it at /docs/events, and at / a page that leads to what there is. An empty
// name, or a folder without it, leaves /docs out and says so in the log.
void PublishDocs(const std::string& swagger_ui, const Services& services, Gateway* gateway);

}  // namespace shop::gateway
