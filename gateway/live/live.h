#pragma once

#include "gateway/gateway.h"

namespace shop::gateway {

// Publishes the page at /live, on which people log in, place an order and watch its way. It is made of
// static files that use the public API. Its Content-Security-Policy allows what comes from the gateway
// itself and nothing inline, so that nothing in an answer can run as a script.
void PublishLivePage(Gateway* gateway);

}  // namespace shop::gateway
