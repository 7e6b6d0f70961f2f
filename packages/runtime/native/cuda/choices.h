/**
 * Which of cuBLASLt's ways to compute a product was fastest on this GPU, kept in a file of the cache folder.
 *
 *     sm_90 cublasLt 120901 nt float32 8192x2048 49152x2048 0 = 0a1b...      a product, and the way: 64 bytes
 *
 * Ways differ in how they cut the sums, and so in the last bits: a run must not measure again and choose another. Ranks
 * that meet a new product at the same time all write their choice down, and all take the one that came first.
 */
#pragma once
#include <fcntl.h>
#include <unistd.h>

#include <cstring>
#include <fstream>
#include <map>
#include <string>

#include "libraries.h"

namespace fourfold::cuda {

/** The file's lines in memory, and a way to add one. */
class Choices {
  public:
    explicit Choices(const std::string& file) : file_(file) { Read(); }

    /** The way for a product; null if none has been measured. */
    const cublasLtAlgo* Find(const std::string& product) const {
        const auto found = ways_.find(product);
        return found == ways_.end() ? nullptr : &found->second;
    }

    /** Writes a way down, and returns the one that counts. Where the file can't be written it counts for this run. */
    cublasLtAlgo Add(const std::string& product, const cublasLtAlgo& way) {
        const std::string line = product + " = " + Hex(way) + "\n";
        const int file = open(file_.c_str(), O_WRONLY | O_APPEND | O_CREAT, 0644);
        if (file >= 0) {
            const bool whole = write(file, line.data(), line.size()) == static_cast<ssize_t>(line.size());
            close(file);
            if (whole) Read();
        }
        return ways_.emplace(product, way).first->second;
    }

  private:
    const std::string file_;
    std::map<std::string, cublasLtAlgo> ways_;

    /** A line that is no product's, or cut off, is left out. */
    void Read() {
        std::ifstream lines(file_);
        for (std::string line; std::getline(lines, line);) {
            const size_t equals = line.find(" = ");
            cublasLtAlgo way;
            if (equals != std::string::npos && FromHex(line.substr(equals + 3), &way))
                ways_.emplace(line.substr(0, equals), way);
        }
    }

    static std::string Hex(const cublasLtAlgo& way) {
        std::string text;
        char number[17];
        for (const uint64_t word : way.data) {
            snprintf(number, sizeof number, "%016llx", static_cast<unsigned long long>(word));
            text += number;
        }
        return text;
    }

    static bool FromHex(const std::string& text, cublasLtAlgo* way) {
        if (text.size() != 16 * 8 || text.find_first_not_of("0123456789abcdef") != std::string::npos) return false;
        for (int i = 0; i < 8; i++) way->data[i] = std::stoull(text.substr(16 * i, 16), nullptr, 16);
        return true;
    }
};

}  // namespace fourfold::cuda
