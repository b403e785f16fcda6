// Compiles the loops of PENSTOCK_LOOPS once per instruction set, in the namespaces baseline, avx2 and avx512 of the
// including file. Loops whose speed needs chosen instructions are written this way; plain loops that vectorise by
// themselves take PENSTOCK_TARGET_* instead (instruction_set.h).
// Include it last: what follows a `target` pragma may not pull in other headers.
#define PENSTOCK_LANE_BYTES 16
namespace baseline {
#include "optim/vector_lanes.h"

#include "optim/lane_memory.h"

#include PENSTOCK_LOOPS
}  // namespace baseline
#undef PENSTOCK_LANES
#undef PENSTOCK_LANE_BYTES

#if defined(__x86_64__)
#pragma GCC push_options
#pragma GCC target("arch=x86-64-v3")
#define PENSTOCK_LANE_BYTES 32
namespace avx2 {
#include "optim/vector_lanes.h"

#include "optim/lane_memory.h"

#include PENSTOCK_LOOPS
}  // namespace avx2
#undef PENSTOCK_LANES
#undef PENSTOCK_LANE_BYTES
#pragma GCC pop_options

#pragma GCC push_options
#pragma GCC target("arch=x86-64-v4")
#define PENSTOCK_LANE_BYTES 64
namespace avx512 {
#include "optim/vector_lanes.h"

#include "optim/lane_memory.h"

#include PENSTOCK_LOOPS
}  // namespace avx512
#undef PENSTOCK_LANES
#undef PENSTOCK_LANE_BYTES
#pragma GCC pop_options
#else
namespace avx2 = baseline;
namespace avx512 = baseline;
#endif
