// A program that stays.  It is started once, allocates and loads what Brian2's programs do, and then
// forks for each call: the child runs from that state and dies, so that no call knows of another.
//
//   call   rows | a seed for each | the rows' values of each argument                  8 bytes each
//   reply  status | bytes of text | bytes of each result | text | results              0: it ran
//
// It ends when its standard input does or when the process that started it is gone, and takes the child
// with it.  Ctrl-C is not for it: that process decides.
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>
#ifdef __linux__
#include <sys/prctl.h>
#endif
#include <cstdio>
#include <iostream>
#include "objects.h"
#include "serve.h"

namespace inferkit {

int rows = 0;
const uint64_t* seed = nullptr;
std::vector<double> values;

static const int WATCH_MS = 5000;
static const size_t BUFFER = 1 << 18;
static std::vector<uint64_t> seeds;
static int calls, replies, begun;   // file descriptors
static FILE* said;                  // what is printed during a call

static void write_all(int to, const void* from, size_t bytes) {
    const char* at = (const char*)from;
    while (bytes) {
        const ssize_t done = write(to, at, bytes);
        if (done <= 0) _exit(1);
        at += done;
        bytes -= done;
    }
}

void Results::put(const void* from, size_t bytes) {
    if (held.size() + bytes > BUFFER) flush();
    if (bytes > BUFFER) return write_all(out, from, bytes);
    held.insert(held.end(), (const char*)from, (const char*)from + bytes);
}

void Results::flush() {
    write_all(out, held.data(), held.size());
    held.clear();
}

// Until there is something to read in `from`; false when the calling process is gone.
static bool await(int from, pid_t parent) {
    struct pollfd ends[2] = {{from, POLLIN, 0}, {calls, 0, 0}};
    for (;;) {
        const int ready = poll(ends, from == calls ? 1 : 2, WATCH_MS);
        if (ends[0].revents) return true;
        if ((ready > 0 && ends[1].revents) || getppid() != parent) return false;
    }
}

static bool read_all(void* to, size_t bytes, pid_t parent) {
    char* at = (char*)to;
    while (bytes) {
        if (!await(calls, parent)) return false;
        const ssize_t got = read(calls, at, bytes);
        if (got <= 0) return false;
        at += got;
        bytes -= got;
    }
    return true;
}

static std::string text() {
    fflush(stdout);
    std::cout.flush();
    std::string told(lseek(fileno(said), 0, SEEK_END), 0);
    if (pread(fileno(said), &told[0], told.size(), 0) != (ssize_t)told.size()) told.clear();
    return told;
}

static void send_header(uint64_t status, const std::string& told, std::vector<uint64_t> sizes) {
    sizes.insert(sizes.begin(), {status, (uint64_t)told.size()});
    write_all(replies, sizes.data(), sizes.size() * 8);
    write_all(replies, told.data(), told.size());
}

static bool read_call(pid_t parent) {
    uint64_t count;
    if (!read_all(&count, 8, parent)) return false;
    rows = (int)count;
    seeds.resize(count);
    values.resize(count * argument_count);
    if (!read_all(seeds.data(), 8 * count, parent) || !read_all(values.data(), 8 * values.size(), parent))
        return false;
    const uint64_t last = seeds.back();
    seeds.resize(BLOCK + LANES, last);
    seed = seeds.data();
    return true;
}

void serve() {
    signal(SIGINT, SIG_IGN);
    const pid_t parent = getppid(), self = getpid();
    calls = dup(0);
    replies = dup(1);
    said = tmpfile();
    if (!said) { std::perror("no temporary file"); _exit(1); }
    dup2(fileno(said), 1);
    dup2(fileno(said), 2);
    while (read_call(parent)) {
        int alive[2];   // read as ended once the child is, whatever way
        if (pipe(alive) || ftruncate(fileno(said), 0)) _exit(1);
        lseek(fileno(said), 0, SEEK_SET);
        const pid_t child = fork();
        if (child < 0) _exit(1);
        if (child == 0) {
#ifdef __linux__
            prctl(PR_SET_PDEATHSIG, SIGKILL);
#endif
            if (getppid() != self) _exit(1);
            begun = alive[1];
            for (auto& generator : brian::_random_generators) generator.seed((unsigned long)seeds[0]);
            return;
        }
        close(alive[1]);
        char one;
        if (!await(alive[0], parent)) { kill(child, SIGKILL); _exit(1); }
        const bool answered = read(alive[0], &one, 1) == 1;
        if (answered && !await(alive[0], parent)) { kill(child, SIGKILL); _exit(1); }
        close(alive[0]);
        int ended = 0;
        waitpid(child, &ended, 0);
        if (answered && ended) _exit(1);   // amid its reply
        if (!answered) send_header(ended ? ended : 1, text(), std::vector<uint64_t>(result_count, 0));
    }
    _exit(0);
}

// The child's last act.
void reply() {
    Results told(replies);
    results(told);
    write_all(begun, "", 1);
    send_header(0, text(), told.sizes);
    told.writing = true;
    results(told);
    told.flush();
    _exit(0);
}

}  // namespace inferkit
