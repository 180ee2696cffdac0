/* Vectors of W lanes, and the functions of them that the equations use.

   exp: x = n ln 2 + r, |r| <= ln 2 / 2, a Taylor sum of exp r times 2^n.
   log: x = 2^e m, log m = 2 atanh((m - 1) / (m + 1)), m in [sqrt 1/2, sqrt 2].
   atan2: a Taylor sum of atan on |a| <= tan(pi / 8).
   sin, cos: reduced by multiples of pi / 2 in three parts, Taylor sums on |r| <= pi / 4.        */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <math.h>

#ifdef F64
typedef double real;
typedef int64_t bits;
#define W 4
#define R(x) x
#define MANTISSA 52
#define BIAS 1023
#define MAGIC 6755399441055744.0
#define EXP_MAX 709.78
#define EXP_MIN -708.3
#else
typedef float real;
typedef int32_t bits;
#define W 8
#define R(x) x##f
#define MANTISSA 23
#define BIAS 127
#define MAGIC 12582912.0f
#define EXP_MAX 88.72f
#define EXP_MIN -87.33f
#endif
#ifdef OUT64
typedef double out_t;
#else
typedef float out_t;
#endif

typedef real V __attribute__((vector_size(W * sizeof(real)), aligned(sizeof(real)), may_alias));
typedef bits I __attribute__((vector_size(W * sizeof(bits)), aligned(sizeof(bits)), may_alias));
typedef float F8 __attribute__((vector_size(W * 4), aligned(4), may_alias));
typedef uint32_t U8 __attribute__((vector_size(W * 4), aligned(4), may_alias));
typedef int32_t I8 __attribute__((vector_size(W * 4), aligned(4), may_alias));
#define INLINE static inline __attribute__((always_inline))
#define LOAD(p) (*(const V *)(p))
#define STORE(p, v) (*(V *)(p) = (v))
#define SPLAT(x) ((V){0} + (real)(x))

INLINE V sel(I m, V a, V b) { return (V)(((I)a & m) | ((I)b & ~m)); }
INLINE V vabs(V x) { return (V)((I)x & (((I){0} + 1) << (MANTISSA + (sizeof(real) == 8 ? 11 : 8))) - 1); }
INLINE V vmax(V a, V b) { return sel((a < b) | (b != b), b, a); }
INLINE V vmin(V a, V b) { return sel((a > b) | (b != b), b, a); }
INLINE V vsqrt(V x) {
    V r;
    for (int l = 0; l < W; l++) r[l] = sizeof(real) == 8 ? (real)__builtin_sqrt(x[l]) : (real)__builtin_sqrtf(x[l]);
    return r;
}

INLINE V vexp(V x) {
    V c = sel(x > EXP_MAX, SPLAT(EXP_MAX), sel(x < EXP_MIN, SPLAT(EXP_MIN), x));
    V t = c * R(1.4426950408889634) + MAGIC;
    V n = t - MAGIC;
    I k = (I)t - (I)SPLAT(MAGIC);
#ifdef F64
    V r = c - n * 6.93145751953125e-1 - n * 1.42860682030941723212e-6;
    V p = SPLAT(1.0 / 6227020800.0);
    p = p * r + 1.0 / 479001600.0; p = p * r + 1.0 / 39916800.0; p = p * r + 1.0 / 3628800.0;
    p = p * r + 1.0 / 362880.0; p = p * r + 1.0 / 40320.0; p = p * r + 1.0 / 5040.0;
#else
    V r = c - n * 0.693359375f + n * 2.12194440e-4f;
    V p = SPLAT(1.0f / 5040.0f);
#endif
    p = p * r + R(1.0) / R(720.0); p = p * r + R(1.0) / R(120.0); p = p * r + R(1.0) / R(24.0);
    p = p * r + R(1.0) / R(6.0); p = p * r + R(0.5); p = p * r + R(1.0); p = p * r + R(1.0);
    p = p * (V)((k + BIAS) << MANTISSA);
    p = sel(x > EXP_MAX, SPLAT(INFINITY), p);
    return sel(x < EXP_MIN, SPLAT(0), p);
}

INLINE V vlog(V x) {
    I i = (I)x;
    I e = (i >> MANTISSA) - BIAS;
    V m = (V)((i & (((I){0} + 1) << MANTISSA) - 1) | ((I)SPLAT(1)));
    I big = m > R(1.4142135623730951);
    m = sel(big, m * R(0.5), m);
    e = e - big; /* a true lane is -1 */
    V s = (m - R(1.0)) / (m + R(1.0)), q = s * s;
#ifdef F64
    V p = SPLAT(1.0 / 21.0);
    p = p * q + 1.0 / 19.0; p = p * q + 1.0 / 17.0; p = p * q + 1.0 / 15.0; p = p * q + 1.0 / 13.0;
    p = p * q + 1.0 / 11.0; p = p * q + 1.0 / 9.0;
#else
    V p = SPLAT(1.0f / 9.0f);
#endif
    p = p * q + R(1.0) / R(7.0); p = p * q + R(1.0) / R(5.0); p = p * q + R(1.0) / R(3.0);
    p = (p * q + R(1.0)) * s * R(2.0) + __builtin_convertvector(e, V) * R(0.69314718055994531);
    p = sel(x == 0, SPLAT(-INFINITY), p);
    p = sel(x < 0, SPLAT(NAN), p);
    return sel((x != x) | (x == INFINITY), x, p);
}

INLINE void vsincos(V x, V *s, V *c) {
    V t = x * R(0.63661977236758134) + MAGIC;
    V n = t - MAGIC;
    I k = (I)t - (I)SPLAT(MAGIC);
#ifdef F64
    V r = x - n * 1.57079625129699707031; r = r - n * 7.54978941586159635335e-8;
    r = r - n * 5.39030285815811827e-15;
    V q = r * r;
    V a = SPLAT(1.0 / 355687428096000.0), b = SPLAT(1.0 / 6402373705728000.0);
    a = a * -q + 1.0 / 1307674368000.0; a = a * -q + 1.0 / 6227020800.0; a = a * -q + 1.0 / 39916800.0;
    b = b * -q + 1.0 / 20922789888000.0; b = b * -q + 1.0 / 87178291200.0; b = b * -q + 1.0 / 479001600.0;
    b = b * -q + 1.0 / 3628800.0;
#else
    V r = x - n * 1.5703125f; r = r - n * 4.837512969970703125e-4f; r = r - n * 7.54978995489188216e-8f;
    V q = r * r;
    V a = SPLAT(1.0f / 39916800.0f), b = SPLAT(1.0f / 3628800.0f);
#endif
    a = a * -q + R(1.0) / R(362880.0); a = a * -q + R(1.0) / R(5040.0); a = a * -q + R(1.0) / R(120.0);
    a = a * -q + R(1.0) / R(6.0); a = r - r * q * a;
    b = b * -q + R(1.0) / R(40320.0); b = b * -q + R(1.0) / R(720.0); b = b * -q + R(1.0) / R(24.0);
    b = b * -q + R(0.5); b = R(1.0) - q * b;
    I odd = (k & 1) != 0, sneg = (k & 2) != 0, cneg = ((k + 1) & 2) != 0;
    V ss = sel(odd, b, a), cc = sel(odd, a, b);
    *s = sel(sneg, -ss, ss);
    *c = sel(cneg, -cc, cc);
}
INLINE V vsin(V x) { V s, c; vsincos(x, &s, &c); return s; }
INLINE V vcos(V x) { V s, c; vsincos(x, &s, &c); return c; }
INLINE V vtanh(V x) {
    V a = vabs(x), q = x * x;
    V big = R(1.0) - R(2.0) / (vexp(R(2.0) * a) + R(1.0));
    big = sel(x < 0, -big, big);
    V p = SPLAT(-R(929569.0) / R(638512875.0)); /* the Taylor sum, for |x| < 0.15 */
    p = p * q + R(21844.0) / R(6081075.0); p = p * q - R(1382.0) / R(155925.0);
    p = p * q + R(62.0) / R(2835.0); p = p * q - R(17.0) / R(315.0);
    p = p * q + R(2.0) / R(15.0); p = p * q - R(1.0) / R(3.0);
    return sel(a < R(0.15), x + x * q * p, big);
}
INLINE V vpow(V x, V y) {
    V p = vexp(y * vlog(x));
    return sel(x == 0, sel(y == 0, SPLAT(1), SPLAT(0)), p);
}
INLINE V verfc(V x) { /* a lane at a time, by the C library */
    V r;
    for (int l = 0; l < W; l++) r[l] = sizeof(real) == 8 ? (real)erfc(x[l]) : (real)erfcf(x[l]);
    return r;
}
INLINE V vatan2(V y, V x) {
    V ax = vabs(x), ay = vabs(y), most = vmax(ax, ay);
    V a = sel(most == 0, SPLAT(0), vmin(ax, ay) / most);
    I high = a > R(0.41421356237309503); /* tan(pi / 8): atan a = pi / 4 + atan((a - 1) / (a + 1)) */
    a = sel(high, (a - R(1.0)) / (a + R(1.0)), a);
    V q = -a * a, p = SPLAT(0);
    for (int k = sizeof(real) == 8 ? 41 : 19; k > 0; k -= 2) p = p * q + R(1.0) / k;
    V t = a * p + sel(high, SPLAT(0.78539816339744831), SPLAT(0));
    t = sel(ay > ax, R(1.5707963267948966) - t, t);
    t = sel(x < 0, R(3.1415926535897932) - t, t);
    return sel(y < 0, -t, t);
}

/* xoshiro128++ (Blackman and Vigna), a stream for each lane; normals by Box and Muller, in pairs. */
INLINE U8 rotl(U8 x, int k) { return (x << k) | (x >> (32 - k)); }
INLINE U8 next(U8 *s) {
    U8 r = rotl(s[0] + s[3], 7) + s[0], t = s[1] << 9;
    s[2] ^= s[0]; s[3] ^= s[1]; s[1] ^= s[2]; s[0] ^= s[3]; s[2] ^= t; s[3] = rotl(s[3], 11);
    return r;
}
INLINE F8 unit(U8 w) { /* (0, 1] */
    return __builtin_convertvector((I8)(w >> 1), F8) * 4.656612873077393e-10f + 2.3283064365386963e-10f;
}
INLINE F8 sel8(I8 m, F8 a, F8 b) { return (F8)(((I8)a & m) | ((I8)b & ~m)); }
INLINE void pair(U8 *s, V *z0, V *z1) {
    F8 u = unit(next(s));
    I8 i = (I8)u, e = (i >> 23) - 127;
    F8 m = (F8)((i & 0x7fffff) | 0x3f800000);
    I8 big = m > 1.41421356f;
    m = sel8(big, m * 0.5f, m);
    e = e - big;
    F8 f = (m - 1.0f) / (m + 1.0f), q = f * f;
    F8 p = q * (1.0f / 9.0f) + 1.0f / 7.0f;
    p = p * q + 0.2f; p = p * q + 1.0f / 3.0f;
    F8 lg = (p * q + 1.0f) * f * 2.0f + __builtin_convertvector(e, F8) * 0.69314718f;
    F8 r = -2.0f * lg;
    for (int l = 0; l < W; l++) r[l] = __builtin_sqrtf(r[l] > 0 ? r[l] : 0);
    U8 w = next(s);
    /* the angle is a quarter turn times (w >> 30), plus w's other bits between -1/8 and 1/8 turn */
    F8 a = __builtin_convertvector(((I8)(w << 2)) >> 2, F8) * (float)(1.5707963267948966 / 1073741824.0);
    F8 aa = a * a;
    F8 sn = aa * (1.0f / 362880.0f) - 1.0f / 5040.0f;
    sn = sn * aa + 1.0f / 120.0f; sn = sn * aa - 1.0f / 6.0f; sn = a + a * aa * sn;
    F8 cs = aa * (-1.0f / 3628800.0f) + 1.0f / 40320.0f;
    cs = cs * aa - 1.0f / 720.0f; cs = cs * aa + 1.0f / 24.0f; cs = cs * aa - 0.5f; cs = 1.0f + aa * cs;
    I8 odd = (I8)(w >> 30 & 1) != 0, neg = (I8)(w >> 31) != 0;
    F8 x = sel8(odd, sn, cs), y = sel8(odd, cs, sn);
    x = sel8(neg, -x, x); y = sel8(neg ^ odd, -y, y);
    *z0 = __builtin_convertvector(r * x, V);
    *z1 = __builtin_convertvector(r * y, V);
}

/* kind 0: a sample, 1: a mean over the period, 2: means of `inner` steps through a haemodynamic kernel,
   3: the same through the Balloon-Windkessel equations (p: h, eps, tau_s, tau_f, tau_0, alpha, E_0, V_0,
   k_1, k_2, k_3).  The first `skip` samples are not kept.                                          */
typedef struct {
    int64_t kind, istep, inner, skip, count, nv, length, vstride;
    const int32_t *sums, *observed;
    out_t *out;
    double *acc;
    const double *hrf;
    double shift, scale;
    double *state;
    double p[11];
} Mon;

typedef struct {
    int64_t N, rows, cells, mode, steps, K, horizon, history_mode, n_long, n_short, monitors, ring_size;
    int64_t s, started, ring_unused;
    const int64_t *depth, *row, *wind;
    int64_t *place;
    const int64_t *ptr_long, *ptr_short;
    const int32_t *src_long, *lag_long, *src_short, *lag_short;
    const real *w_long, *w_short, *w_now;
    const real *const *par;
    const int64_t *par_stride;
    real *ring, *state, *sums, *now, *now_next, *dense;
    uint32_t *rng;
    const real *low, *high, *history, *stim;
    int64_t *diverged, *seg_end;
    uint32_t *seg_due;
    Mon *mon;
    double dt;
} Job;
