#include "core/float_mode.h"

#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

namespace penstock {

#if defined(__x86_64__)

namespace {
constexpr unsigned kFlushToZero = 0x8000;
constexpr unsigned kDenormalsAreZero = 0x0040;
constexpr unsigned kFlushBits = kFlushToZero | kDenormalsAreZero;
}  // namespace

void set_flush_denormals() { _mm_setcsr(_mm_getcsr() | kFlushBits); }
bool flushes_denormals() { return (_mm_getcsr() & kFlushBits) == kFlushBits; }

#else

// Elsewhere denormals are computed: slower on some inputs, and results differ from x86 only where a value is denormal.
void set_flush_denormals() {}
bool flushes_denormals() { return false; }

#endif

}  // namespace penstock
