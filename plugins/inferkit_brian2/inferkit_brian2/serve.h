// What a program's own io.cpp tells serve.cpp of it.
#ifndef INFERKIT_SERVE_H
#define INFERKIT_SERVE_H
#include <vector>
#include "rows.h"
#include "brianlib/dynamic_array.h"

namespace inferkit {

extern const int argument_count, result_count;
extern std::vector<double> values;   // of the call: those of each argument, row by row

// Each of the variable's elements takes its row's value; the last row's fills up what does not run.
template <class T> void set(T* variable, int size, int which) {
    const int each = size / BLOCK;
    for (int k = 0; k < size + LANES; k++) {
        const int row = k / each < rows ? k / each : rows - 1;
        variable[k] = (T)values[(size_t)which * rows + row];
    }
}

// Results are visited twice: for their sizes, then for their bytes.
class Results {
    int out;
    std::vector<char> held;
public:
    std::vector<uint64_t> sizes;
    bool writing = false;
    explicit Results(int out) : out(out) {}
    void put(const void* from, size_t bytes);
    void flush();

    template <class T> void array(const T* from, int count) {
        if (writing) put(from, count * sizeof(T));
        else sizes.push_back(count * sizeof(T));
    }
    template <class T> void vector(std::vector<T>& from) {
        if (writing) put(from.data(), from.size() * sizeof(T));
        else sizes.push_back(from.size() * sizeof(T));
    }
    template <class T> void matrix(DynamicArray2D<T>& from, int columns) {
        if (!writing) sizes.push_back((uint64_t)from.n * columns * sizeof(T));
        else for (int i = 0; i < from.n; i++) put(from(i).data(), columns * sizeof(T));
    }
};

void results(Results&);

}  // namespace inferkit
#endif
