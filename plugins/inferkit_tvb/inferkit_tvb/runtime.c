/* The loop over time for one group of L = U W lanes; this text is compiled once for each U.

   mode 0: a lane is a parameter set, a cell is a node.   mode 1: a lane is a node, a cell is L of them.

   The values f(x_j) that other nodes see lie in a ring [node][time] (mode 0: of L lanes).  With no lag
   below K - 1 steps, the sums of K steps are made at once, edge by edge, in contiguous runs of memory;
   then each cell runs its K steps with its state in registers.  Edges with shorter lags are added step
   by step.  Rings have K more places, copies of the first K, so that a run never wraps around.        */



static void FN(fill)(long n, uint32_t *st, real *z) { /* n rows of L normals; n is even */
    U8 s[U][4];
    for (int u = 0; u < U; u++) for (int q = 0; q < 4; q++) s[u][q] = *(U8 *)(st + q * L + u * W);
    for (long k = 0; k < n; k += 2)
        for (int u = 0; u < U; u++) {
            V a, b;
            pair(s[u], &a, &b);
            STORE(z + k * L + u * W, a);
            STORE(z + (k + 1) * L + u * W, b);
        }
    for (int u = 0; u < U; u++) for (int q = 0; q < 4; q++) *(U8 *)(st + q * L + u * W) = s[u][q];
}

INLINE void FN(edges)(long n, real *restrict a, const real *restrict x, real w) {
    for (long q = 0; q < n; q++) a[q] += w * x[q];
}
INLINE void FN(edges4)(long n, real *restrict a, const real *restrict x0, const real *restrict x1,
                       const real *restrict x2, const real *restrict x3, const real *w) {
    real w0 = w[0], w1 = w[1], w2 = w[2], w3 = w[3];
    for (long q = 0; q < n; q++) {
        real t = a[q];
        t += w0 * x0[q]; t += w1 * x1[q]; t += w2 * x2[q]; t += w3 * x3[q];
        a[q] = t;
    }
}

/* The sums of node i over its long edges, for steps s0 .. s0 + len - 1 of stream s: a[len][lanes]. */
static void FN(gather)(const Job *j, int s, long i, long s0, long len, long lanes, real *a) {
    long e = j->ptr_long[i], end = j->ptr_long[i + 1], n = len * lanes;
    const real *ring = j->ring + s * j->ring_size;
    memset(a, 0, n * sizeof(real));
#define AT(e) (ring + (j->row[j->src_long[e]] + (s0 - j->lag_long[e] + j->wind[j->src_long[e]]) \
               % j->depth[j->src_long[e]]) * lanes)
    for (; e + 4 <= end; e += 4) FN(edges4)(n, a, AT(e), AT(e + 1), AT(e + 2), AT(e + 3), j->w_long + e);
    for (; e < end; e++) FN(edges)(n, a, AT(e), j->w_long[e]);
#undef AT
}

/* Times t0 .. t0 + len - 1 of node i were written at `at` (contiguous); keep the copies in step. */
static void FN(mirror)(const Job *j, real *row, long i, long at, long len, long lanes) {
    long T = j->depth[i];
    if (at + len > T) memcpy(row, row + T * lanes, (at + len - T) * lanes * sizeof(real));
    if (at < j->K) {
        long m = (at + len < j->K ? at + len : j->K) - at;
        memcpy(row + (T + at) * lanes, row + at * lanes, m * lanes * sizeof(real));
    }
}

static inline long FN(node)(const Job *j, long cell, int lane) { return j->mode ? cell * L + lane : cell; }
static inline long FN(out_row)(const Job *j, int lane) { return j->mode ? 0 : lane; }
static inline int FN(lanes_of)(const Job *j, long cell) {
    long left = j->mode ? j->N - cell * L : j->rows;
    return left < L ? (int)left : L;
}

static void FN(balloon)(const Mon *m, double *b, const real *z) { /* b: s, log f, log v, log q */
    const double *p = m->p, h = p[0], rest = log(1 - p[6]);
    for (int l = 0; l < L; l++) { /* doubles: at rest all is a small difference of ones */
        double s = b[l], lf = b[L + l], lv = b[2 * L + l], lq = b[3 * L + l];
        double f = exp(lf), v = exp(lv), q = exp(lq), o = exp(lv / p[5]);
        double extracted = (1 - exp(rest / f)) / p[6];
        lf += h * s / f;
        b[L + l] = lf > 5 ? 5 : lf < -5 ? -5 : lf;
        b[l] = s + h * (p[1] * z[l] - s / p[2] - (f - 1) / p[3]);
        b[2 * L + l] = lv + h * (f - o) / v / p[4];
        b[3 * L + l] = lq + h * (f * extracted / q - o / v) / p[4];
    }
}

/* Cell `cell` has reached step s: what is due there is taken. */
static void FN(flush)(Job *j, long cell, long s, unsigned due, real *x, real *sums, const real *const *P) {
    real y[NO * L];
    int seen = 0;
    int valid = FN(lanes_of)(j, cell);
    for (int k = 0; k < j->monitors; k++) {
        Mon *m = j->mon + k;
        int inner = due >> (2 * k) & 1, outer = due >> (2 * k + 1) & 1;
        if (!inner && !outer) continue;
        long at = s / m->istep - 1 - m->skip;
        int keep = outer && at >= 0 && at < m->count;
        for (int v = 0; v < m->nv; v++) {
            real *sum = m->sums ? sums + m->sums[v] * L : 0;
            long base = v * m->vstride + at * j->N;
            if (m->kind == 0 && keep) {
                if (!seen) { FN(observe)(x, P, y); seen = 1; }
                for (int l = 0; l < valid; l++)
                    m->out[base + FN(out_row)(j, l) * m->count * j->N + FN(node)(j, cell, l)] =
                        (out_t)y[m->observed[v] * L + l];
            }
            if (m->kind == 1 && outer) {
                if (keep)
                    for (int l = 0; l < valid; l++)
                        m->out[base + FN(out_row)(j, l) * m->count * j->N + FN(node)(j, cell, l)] =
                            (out_t)(sum[l] / (real)m->istep);
                memset(sum, 0, L * sizeof(real));
            }
            if (m->kind == 2 && inner) { /* every later sample of BOLD gets its share of this mean */
                long q = s / m->inner;
                long lo = (q * m->inner + m->istep - 1) / m->istep - 1 - m->skip;
                double mean[L];
                for (int l = 0; l < L; l++) mean[l] = (double)(sum[l] / (real)m->inner);
                memset(sum, 0, L * sizeof(real));
                for (long n = lo < 0 ? 0 : lo; n < m->count; n++) {
                    long age = m->istep * (m->skip + 1 + n) / m->inner - q;
                    if (age >= m->length) break;
                    double g = m->hrf[age ? age - 1 : m->length - 1];
                    double *a = m->acc + ((cell * m->nv + v) * m->count + n) * L;
                    for (int l = 0; l < L; l++) a[l] += g * mean[l];
                }
            }
            if (m->kind == 3) {
                double *b = m->state + (cell * m->nv + v) * 4 * L;
                if (inner) {
                    real z[L];
                    for (int l = 0; l < L; l++) z[l] = sum[l] / (real)m->inner;
                    memset(sum, 0, L * sizeof(real));
                    FN(balloon)(m, b, z);
                }
                if (keep)
                    for (int l = 0; l < valid; l++) {
                        double vv = exp(b[2 * L + l]), qq = exp(b[3 * L + l]);
                        const double *p = m->p;
                        m->out[base + FN(out_row)(j, l) * m->count * j->N + FN(node)(j, cell, l)] = (out_t)(
                            p[7] * (p[8] * (1 - qq) + p[9] * (1 - qq / vv) + p[10] * (1 - vv)));
                    }
            }
        }
    }
}

static void FN(finish)(Job *j) {
    for (int k = 0; k < j->monitors; k++) {
        Mon *m = j->mon + k;
        if (m->kind != 2) continue;
        for (long cell = 0; cell < j->cells; cell++)
            for (int v = 0; v < m->nv; v++)
                for (long n = 0; n < m->count; n++)
                    for (int l = 0; l < FN(lanes_of)(j, cell); l++)
                        m->out[v * m->vstride + (FN(out_row)(j, l) * m->count + n) * j->N
                               + FN(node)(j, cell, l)] = (out_t)((m->acc[((cell * m->nv + v) * m->count + n)
                               * L + l] - m->shift) * m->scale);
    }
}

static inline void FN(pointers)(const Job *j, long cell, const real **P) {
    for (int q = 0; q < NP; q++) P[q] = j->par[q] + cell * j->par_stride[q];
}

/* The history before the start: random, given, or as the present state. */
static void FN(prefill)(Job *j) {
    real *buffer = malloc((NS + 1) * L * sizeof(real));
    for (long cell = 0; cell < j->cells; cell++) {
        const real *P[NP + 1];
        FN(pointers)(j, cell, P);
        real *x = j->state + cell * 2 * NV * L;
        uint32_t *st = j->rng + cell * 4 * L;
        U8 s[U][4];
        for (int u = 0; u < U; u++)
            for (int q = 0; q < 4; q++) s[u][q] = *(U8 *)(st + q * L + u * W);
        for (long t = 1 - j->horizon; t <= 0; t++) {
            for (int v = 0; v < NV; v++) {
                if (j->history_mode == 0 && (t == 0 || (SEEN >> v & 1)))
                    for (int u = 0; u < U; u++) {
                        V r = __builtin_convertvector(unit(next(s[u])), V);
                        STORE(x + v * L + u * W, j->low[v] + (j->high[v] - j->low[v]) * r);
                    }
                if (j->history_mode == 1)
                    for (int l = 0; l < L; l++) {
                        long node = FN(node)(j, cell, l);
                        x[v * L + l] = j->history[((t + j->horizon - 1) * NV + v) * j->N
                                                  + (node < j->N ? node : j->N - 1)];
                    }
            }
            FN(bound)(x);
            if (!NS) continue;
            FN(streams)(x, P, buffer);
            for (int k = 0; k < NS; k++)
                if (j->mode == 0) {
                    long T = j->depth[cell], at = (t + j->wind[cell]) % T;
                    real *row = j->ring + k * j->ring_size + j->row[cell] * L;
                    memcpy(row + at * L, buffer + k * L, L * sizeof(real));
                    FN(mirror)(j, row, cell, at, 1, L);
                } else
                    for (int l = 0; l < FN(lanes_of)(j, cell); l++) {
                        long i = cell * L + l, T = j->depth[i], at = (t + j->wind[i]) % T;
                        real *row = j->ring + k * j->ring_size + j->row[i];
                        row[at] = buffer[k * L + l];
                        FN(mirror)(j, row, i, at, 1, 1);
                        j->now[k * j->cells * L + i] = buffer[k * L + l];
                    }
        }
        for (int u = 0; u < U; u++)
            for (int q = 0; q < 4; q++) *(U8 *)(st + q * L + u * W) = s[u][q];
    }
    free(buffer);
}

/* Where in node i's ring the step after s0 + from lies (stepwise runs keep count). */
static inline long FN(spot)(const Job *j, long i, long s0, long from) {
    return j->n_short ? j->place[i] + 1 : (s0 + 1 + from + j->wind[i]) % j->depth[i];
}

/* From step s0 (done) to s0 + len of one cell, whose sums are A [stream][K][L]; keeps streams. */
static void FN(cell)(Job *j, long cell, long s0, long from, long to, const real *A, const real *z,
                     real *streams, const real *const *P) {
    real *x = j->state + cell * 2 * NV * L, *sums = j->sums + cell * NSUM * L;
    real *out[NS + 1];
    long at = j->mode == 0 ? FN(spot)(j, cell, s0, from) : 0;
    for (long k = from, seg = 0; k < to;) {
        while (j->seg_end[seg] <= k) seg++;
        long end = j->seg_end[seg] < to ? j->seg_end[seg] : to;
        for (int q = 0; q < NS; q++)
            out[q] = j->mode == 0
                ? j->ring + q * j->ring_size + (j->row[cell] + at + k - from) * L
                : streams + (q * j->K + k) * L;
        FN(advance)(end - k, A + k * L, j->K * L, x, P, z + k * NZ * L, j->stim + (j->stim ? s0 + k : 0),
                    (real)j->dt, out, sums);
        if (end == j->seg_end[seg] && j->seg_due[seg])
            FN(flush)(j, cell, s0 + end, j->seg_due[seg], x, sums, P);
        k = end;
    }
}

/* The block's steps cut where monitors are due; two bits a monitor: inner period, period. */
static void FN(segments)(Job *j, long s0, long len) {
    long k = 0, n = 0;
    while (k < len) {
        long next_ = len;
        for (int q = 0; q < j->monitors; q++)
            for (int o = 0; o < 2; o++) {
                long p = o ? j->mon[q].istep : j->mon[q].inner;
                if (!p) continue;
                long d = ((s0 + k) / p + 1) * p - s0;
                if (d < next_) next_ = d;
            }
        unsigned due = 0;
        for (int q = 0; q < j->monitors; q++) {
            long s = s0 + next_;
            if (j->mon[q].inner && s % j->mon[q].inner == 0) due |= 1u << (2 * q);
            if (s % j->mon[q].istep == 0) due |= 2u << (2 * q);
        }
        j->seg_end[n] = k = next_;
        j->seg_due[n++] = due;
    }
    j->seg_end[n] = len + 1;
}

static int FN(bad)(Job *j, long s) { /* lanes that left the finite numbers; 1 if none is left */
    int alive = 0;
    if (j->mode == 0) {
        V sum[U];
        for (int u = 0; u < U; u++) sum[u] = SPLAT(0);
        for (long c = 0; c < j->cells; c++)
            for (int q = 0; q < NV * U; q++) {
                V x = LOAD(j->state + c * 2 * NV * L + q * W);
                sum[q % U] += x - x;
            }
        for (int l = 0; l < j->rows; l++) {
            if (j->diverged[l] < 0 && sum[l / W][l % W] != 0) j->diverged[l] = s;
            alive |= j->diverged[l] < 0;
        }
        return !alive;
    }
    for (long c = 0; c < j->cells; c++)
        for (int v = 0; v < NV; v++)
            for (int l = 0; l < FN(lanes_of)(j, c); l++) {
                real x = j->state[(c * 2 * NV + v) * L + l];
                if (x - x != 0) { j->diverged[0] = s; return 1; }
            }
    return 0;
}

/* The block's new values into the rings: in place (mode 0), or a lane to its node's row (mode 1). */
static void FN(keep)(Job *j, long cell, long s0, long from, long to, const real *streams) {
    for (int q = 0; q < NS; q++) {
        if (j->mode == 0) {
            long at = FN(spot)(j, cell, s0, from);
            real *row = j->ring + q * j->ring_size + j->row[cell] * L;
            FN(mirror)(j, row, cell, at, to - from, L);
            continue;
        }
        if (j->ring_unused) {
            memcpy(j->now_next + (q * j->cells + cell) * L, streams + (q * j->K + to - 1) * L, L * sizeof(real));
            continue;
        }
        for (int l = 0; l < FN(lanes_of)(j, cell); l++) {
            long i = cell * L + l, at = FN(spot)(j, i, s0, from);
            real *row = j->ring + q * j->ring_size + j->row[i];
            for (long k = from; k < to; k++) row[at + k - from] = streams[(q * j->K + k) * L + l];
            j->now_next[q * j->cells * L + i] = streams[(q * j->K + to - 1) * L + l];
            FN(mirror)(j, row, i, at, to - from, 1);
        }
    }
}

/* One step of all cells, where some edge's lag is shorter than a block. */
static void FN(one_step)(Job *j, long s0, long k, const real *all, real *A, const real *z, long zn,
                         real *sv, real *tmp) {
    const long K = j->K, cells = j->cells, wide = cells * L;
    const real *P[NP + 1];
    long s = s0 + k;
    if (j->mode == 1) { /* lag 0 as a product with the matrix, all nodes at once */
        for (int q = 0; q < NS; q++) {
            real *restrict a = j->dense + q * wide;
            memset(a, 0, wide * sizeof(real));
            for (long c = 0; c < cells && all; c++)
                memcpy(a + c * L, all + ((c * NS + q) * K + k) * L, L * sizeof(real));
            for (long n = 0; n < j->N && j->w_now; n++) {
                real xn = j->now[q * wide + n];
                const real *restrict w = j->w_now + n * wide;
                for (long i = 0; i < wide; i++) a[i] += w[i] * xn;
            }
            for (long i = 0; i < j->N && !j->ring_unused; i++)
                for (long e = j->ptr_short[i]; e < j->ptr_short[i + 1]; e++) {
                    long n = j->src_short[e];
                    if (j->w_now && j->lag_short[e] == 0) continue;
                    a[i] += j->w_short[e] * j->ring[q * j->ring_size + j->row[n]
                            + (s - j->lag_short[e] + j->wind[n]) % j->depth[n]];
                }
        }
    }
    for (long c = 0; c < cells; c++) {
        for (int q = 0; q < NS; q++) {
            real *a = A + (q * K + k) * L;
            if (j->mode == 1) { memcpy(a, j->dense + q * wide + c * L, L * sizeof(real)); continue; }
            V t[U];
            for (int u = 0; u < U; u++) {
                t[u] = SPLAT(0);
                if (all) t[u] = LOAD(all + ((c * NS + q) * K + k) * L + u * W);
            }
            const real *ring = j->ring + q * j->ring_size;
            for (long e = j->ptr_short[c]; e < j->ptr_short[c + 1]; e++) {
                long n = j->src_short[e], at = j->place[n] - j->lag_short[e];
                if (at < 0) at += j->depth[n];
                const real *x = ring + (j->row[n] + at) * L;
                for (int u = 0; u < U; u++) t[u] += j->w_short[e] * LOAD(x + u * W);
            }
            for (int u = 0; u < U; u++) STORE(a + u * W, t[u]);
        }
        FN(pointers)(j, c, P);
        FN(cell)(j, c, s0, k, k + 1, A, z + c * zn * L, sv, P);
        FN(keep)(j, c, s0, k, k + 1, sv);
    }
    for (long n = 0; n < j->N && !j->ring_unused; n++) if (++j->place[n] == j->depth[n]) j->place[n] = 0;
    if (j->mode == 1)
        for (int q = 0; q < NS; q++)
            for (long i = 0; i < j->N; i++) j->now[q * wide + i] = j->now_next[q * wide + i];
    (void)tmp;
}

int FN(run)(Job *j, long blocks) { /* 1 when the end is reached */
    const long K = j->K, cells = j->cells;
    if (!j->started) { FN(prefill)(j); j->started = 1; }
    long zn = (K * NZ + 1) & ~1L;
    real *A = aligned_alloc(64, ((NS * K * L + L) * sizeof(real) + 63) & ~63L);
    real *z = aligned_alloc(64, ((zn * (j->n_short ? cells : 1) * L + L) * sizeof(real) + 63) & ~63L);
    real *sv = aligned_alloc(64, ((NS * K * L + L) * sizeof(real) + 63) & ~63L);
    real *all = j->n_short && j->n_long ? malloc(cells * NS * K * L * sizeof(real)) : 0;
    real *tmp = malloc((K + cells * L) * sizeof(real));
    const real *P[NP + 1];
    int over = 0;
    for (long b = 0; b < blocks && !over && j->s < j->steps; b++) {
        long s0 = j->s, len = j->steps - s0 < K ? j->steps - s0 : K;
        FN(segments)(j, s0, len);
        for (long c = 0; c < cells; c++) {
            real *a = all ? all + c * NS * K * L : A;
            for (int q = 0; q < NS && j->n_long; q++) {
                if (j->mode == 0) { FN(gather)(j, q, c, s0, len, L, a + q * K * L); continue; }
                int n = FN(lanes_of)(j, c);
                for (int l = 0; l < n; l++) {
                    FN(gather)(j, q, c * L + l, s0, len, 1, tmp);
                    for (long k = 0; k < len; k++) a[(q * K + k) * L + l] = tmp[k];
                }
                for (int l = n; l < L; l++) for (long k = 0; k < len; k++) a[(q * K + k) * L + l] = 0;
            }
            if (j->n_short) {
                if (NZ) FN(fill)(((len * NZ + 1) & ~1L), j->rng + c * 4 * L, z + c * zn * L);
                continue;
            }
            if (!j->n_long && NS) memset(A, 0, NS * K * L * sizeof(real));
            if (NZ) FN(fill)(((len * NZ + 1) & ~1L), j->rng + c * 4 * L, z);
            FN(pointers)(j, c, P);
            FN(cell)(j, c, s0, 0, len, A, z, sv, P);
            FN(keep)(j, c, s0, 0, len, sv);
        }
        for (long k = 0; k < len && j->n_short; k++) FN(one_step)(j, s0, k, all, A, z, zn, sv, tmp);
        j->s = s0 + len;
        over = FN(bad)(j, j->s);
    }
    if (!over && j->s >= j->steps) over = 1;
    if (over) FN(finish)(j);
    free(A); free(z); free(sv); free(all); free(tmp);
    return over;
}
