// The Xen public headers that the devices answer to, with the newest structures. They are C; nothing of them
// is re-exported under another name, so that `evtchn_send` here is `evtchn_send` there.
#pragma once

#ifndef __XEN_INTERFACE_VERSION__
// Without this, xen-compat.h selects the layouts of 2006. The identifier is the headers' own.
#define __XEN_INTERFACE_VERSION__ __XEN_LATEST_INTERFACE_VERSION__  // NOLINT(bugprone-reserved-identifier)
#endif

#include <xen/event_channel.h>
#include <xen/grant_table.h>
#include <xen/io/blkif.h>
#include <xen/io/console.h>
#include <xen/io/netif.h>
#include <xen/io/protocols.h>
#include <xen/io/xenbus.h>
#include <xen/io/xs_wire.h>
#include <xen/xen.h>

#include "pvmmu/types.hpp"

namespace pinfold::devices {

/// The number under which guests know the monitor: their frontends find their backends there.
inline constexpr DomId monitor_domain{0};

}  // namespace pinfold::devices
