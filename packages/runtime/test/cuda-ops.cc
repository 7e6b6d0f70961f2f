/**
 * Asks TensorFlow about an op of ours without running it: which kernels it has, and what shapes its outputs get.
 *
 *     cuda-ops LIBRARY...         loads the libraries, then reads one question a line from its input:
 *     FourfoldRmsNorm in 14 2 8 16 in 14 1 16 type T 14 float epsilon 1e-5
 *
 * `in` is an input (dtype, rank, sides), `list` several in one (count, then each as with `in`); then come attributes,
 * of which `ints` is a list (name, count, numbers). An output whose shape TensorFlow is not told is null.
 * The answer is a line of JSON: {"kernels": ["GPU", ...], "outputs": [[8, 16], [8]]} or {"error": "..."}.
 */
#include <dlfcn.h>

#include <algorithm>
#include <iostream>
#include <sstream>
#include <string>
#include <vector>

#include "tensorflow/c/c_api.h"
#include "tensorflow/c/kernels.h"
#include "tensorflow/core/framework/kernel_def.pb.h"

struct Question {
    TF_Graph* graph = TF_NewGraph();
    TF_Status* status = TF_NewStatus();
    int placeholders = 0;

    ~Question() {
        TF_DeleteGraph(graph);
        TF_DeleteStatus(status);
    }

    TF_Output Input(std::istream& words) {
        int dtype, rank;
        words >> dtype >> rank;
        std::vector<int64_t> sides(rank);
        for (int64_t& side : sides) words >> side;
        const std::string name = "x" + std::to_string(placeholders++);
        TF_OperationDescription* description = TF_NewOperation(graph, "Placeholder", name.c_str());
        TF_SetAttrType(description, "dtype", static_cast<TF_DataType>(dtype));
        TF_SetAttrShape(description, "shape", sides.data(), rank);
        return {TF_FinishOperation(description, status), 0};
    }

    /** Reads inputs and attributes; what is wrong with them is in `status`. */
    TF_Operation* Ask(const std::string& op, std::istream& words) {
        TF_OperationDescription* description = TF_NewOperation(graph, op.c_str(), "y");
        for (std::string kind, name; words >> kind;) {
            if (kind == "in") TF_AddInput(description, Input(words));
            if (kind == "list") {
                int count;
                words >> count;
                std::vector<TF_Output> inputs;
                for (int i = 0; i < count; i++) inputs.push_back(Input(words));
                TF_AddInputList(description, inputs.data(), count);
            }
            if (kind == "in" || kind == "list") continue;
            words >> name;
            if (kind == "ints") {
                int count;
                words >> count;
                std::vector<int64_t> numbers(count);
                for (int64_t& number : numbers) words >> number;
                TF_SetAttrIntList(description, name.c_str(), numbers.data(), count);
                continue;
            }
            double value;
            words >> value;
            if (kind == "type") TF_SetAttrType(description, name.c_str(), static_cast<TF_DataType>(value));
            if (kind == "int") TF_SetAttrInt(description, name.c_str(), static_cast<int64_t>(value));
            if (kind == "float") TF_SetAttrFloat(description, name.c_str(), static_cast<float>(value));
            if (kind == "bool") TF_SetAttrBool(description, name.c_str(), value != 0);
        }
        return TF_FinishOperation(description, status);
    }

    std::string Shape(TF_Output y) {
        const int rank = TF_GraphGetTensorNumDims(graph, y, status);
        if (rank < 0) return "null";
        std::vector<int64_t> sides(rank);
        TF_GraphGetTensorShape(graph, y, sides.data(), rank, status);
        std::string text;
        for (const int64_t side : sides) text += (text.empty() ? "" : ", ") + std::to_string(side);
        return "[" + text + "]";
    }
};

static std::string KernelsOf(const std::string& op, TF_Status* status) {
    TF_Buffer* buffer = TF_GetRegisteredKernelsForOp(op.c_str(), status);
    tensorflow::KernelList list;
    list.ParseFromArray(buffer->data, buffer->length);
    TF_DeleteBuffer(buffer);
    std::string text;
    for (const auto& kernel : list.kernel()) text += (text.empty() ? "\"" : ", \"") + kernel.device_type() + "\"";
    return "[" + text + "]";
}

int main(int count, char** libraries) {
    for (int i = 1; i < count; i++)
        if (dlopen(libraries[i], RTLD_LAZY | RTLD_GLOBAL) == nullptr) {  // lazily: Node's functions are not here
            std::cerr << dlerror() << std::endl;
            return 1;
        }
    for (std::string line; std::getline(std::cin, line);) {
        Question question;
        std::istringstream words(line);
        std::string op, outputs;
        words >> op;
        TF_Operation* y = question.Ask(op, words);
        if (TF_GetCode(question.status) != TF_OK) {
            std::string message = TF_Message(question.status);
            std::replace(message.begin(), message.end(), '"', '\'');
            std::cout << "{\"error\": \"" << message << "\"}" << std::endl;
            continue;
        }
        for (int i = 0; i < TF_OperationNumOutputs(y); i++) outputs += (i ? ", " : "") + question.Shape({y, i});
        std::cout << "{\"kernels\": " << KernelsOf(op, question.status);
        std::cout << ", \"outputs\": [" << outputs << "]}" << std::endl;
    }
}
