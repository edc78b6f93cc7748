// Kafka topics for tests.
#pragma once

#include <string>

namespace shop::testing {

// Makes a topic and waits until its partitions have leaders. One that exists is left as it is.
void MakeTopic(const std::string& name, int partitions);

}  // namespace shop::testing
