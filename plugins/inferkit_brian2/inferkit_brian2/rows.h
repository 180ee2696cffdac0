// Random numbers of a row's own: pure functions of (seed of the row, step, place in the code, element).
//
//   h = mix(mix(seed + step * A) + place * B + element * C),   mix = the splitmix64 finaliser
//
// gives a uniform of 53 bits, and two of them a standard normal by Box and Muller's transform.  Nothing
// depends on which rows run beside, nor on the order in which they run.
#ifndef INFERKIT_ROWS_H
#define INFERKIT_ROWS_H
#include <cmath>
#include <cstdint>
#include <cstring>
#include "program.h"

namespace inferkit {

// program.h says BLOCK, the rows there is room for, and LANES.
extern int rows;               // rows that run now
extern const uint64_t* seed;   // one for each row, the last one's beyond

// Loops over elements go on to a multiple of LANES, so that each element runs in the vectorised body of
// its loop and never in the remainder: its bytes do not depend on how many there are.
inline int rounded(int n) { return (n + LANES - 1) / LANES * LANES; }

inline uint64_t mix(uint64_t x) {
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9ULL;
    x = (x ^ (x >> 27)) * 0x94D049BB133111EBULL;
    return x ^ (x >> 31);
}

inline uint64_t word(uint64_t row_seed, uint64_t step, uint64_t place, uint64_t element) {
    return mix(mix(row_seed + (step + 1) * 0x9E3779B97F4A7C15ULL)
               + place * 0xD1B54A32D192ED03ULL + element * 0x8CB92BA72F3D8DD7ULL);
}

// (k + 1/2) / 2^52 in (0, 1), k the upper 52 bits, exactly: by way of the bits of a number in [1, 2),
// as processors without AVX-512 cannot convert vectors of 64-bit integers.
inline double fraction(uint64_t h) {
    const uint64_t bits = (h >> 12) | 0x3FF0000000000000ULL;
    double d;
    std::memcpy(&d, &bits, 8);
    return d - (1.0 - 1.1102230246251565e-16);
}

inline double uniform(uint64_t row_seed, uint64_t step, uint64_t place, uint64_t element) {
    return fraction(word(row_seed, step, place, element));
}

inline double normal(uint64_t row_seed, uint64_t step, uint64_t place, uint64_t element) {
    const uint64_t h = word(row_seed, step, place, element);
    const double radius = sqrt(-2.0 * log(fraction(h)));
    return radius * cos(6.283185307179586 * fraction(mix(h ^ 0x9E3779B97F4A7C15ULL)));
}

// Calls in loops (binomial numbers, random synapses) count on within one element and step.
struct Counting {
    uint64_t key = 0, count = 0;
    uint64_t next(uint64_t row_seed, uint64_t step, uint64_t place, uint64_t element) {
        const uint64_t now = word(row_seed, step, place, element);
        if (now != key) { key = now; count = 0; }
        return mix(key + ++count * 0x9E3779B97F4A7C15ULL);
    }
};

// A vector of so many elements, with zeros in reach beyond its end.
template <class Vector> void pad(Vector& v, size_t size) {
    v.resize(size + LANES);
    v.resize(size);
}

void serve();           // returns in a process of its own for each call, see serve.cpp
void set_arguments();
void reply();

}  // namespace inferkit
#endif
