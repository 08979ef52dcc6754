// A file descriptor that closes itself: a type that devices use, too.
#pragma once

#include "vmm/for_devices/fd.hpp"
