/**
 * Attention by cuDNN: its flash attention, as TensorFlow ops (the equations stand in packages/ops/src/attention.ts).
 *
 *   FourfoldAttention(q [B, T, H, K], k and v [B, S, G, K]; causal, scale) -> o like q, lse [B, H, T]
 *   FourfoldAttentionGrad(do, q, k, v, o, lse; causal, scale, deterministic) -> dq, dk, dv
 *
 * or with one tensor qkv [B, T, H+2G, K], of which q, k and v are heads, and one gradient like it (kv_heads is G).
 *
 * cuDNN is told a computation as a graph of operations, and builds a plan for it, which takes a while: one is kept for
 * each shape. Heads lie beside one another in a token's row, so a head's tokens are as far apart as the row is long;
 * cuDNN takes any strides, and nothing is ever transposed or cut out.
 *
 * cuDNN has bfloat16 alone. float32, and heads longer than it takes, are flash-attention.cu's.
 */
// TensorFlow's library has these headers' classes too, of another version and under the same names: without a name of
// their own the linker would take those.
#define cudnn_frontend fourfold_cudnn_frontend
#define NV_CUDNN_FRONTEND_USE_DYNAMIC_LOADING
#include <cudnn_frontend.h>
#include <dlfcn.h>

#include <memory>
#include <mutex>

#include "flash.h"
#include "op.h"

namespace cudnn_frontend {
void* cudnn_dlhandle = nullptr;  // the library, which the headers ask for under this name
}

namespace fourfold::cuda {

namespace fe = cudnn_frontend;

/** Throws cuDNN's own words. */
static void Good(fe::error_t error) {
    if (!error.is_good()) throw Error("cuDNN says: " + error.get_message());
}

/** cuDNN, opened once. */
static cudnnHandle_t Handle() {
    static const cudnnHandle_t handle = [] {
        cudnnHandle_t made;
        fe::cudnn_dlhandle = dlopen("libcudnn.so.9", RTLD_NOW | RTLD_GLOBAL);
        if (fe::cudnn_dlhandle == nullptr) throw Error(std::string("cuDNN can't be opened: ") + dlerror());
        CheckCode("cudnnCreate", fe::detail::create_handle(&made));
        return made;
    }();
    return handle;
}

/** Backward in one order needs this beside its tensors: heads are taken a few at a time where it would be more. */
constexpr double kMostScratch = 2.0 * (1 << 30);  // bytes, for adding up in order

/** Numbers for the tensors of a graph. */
enum Uid : int64_t { Q = 1, KEYS, V, O, LSE, DO, DQ, DK, DV };

/** Heads as cuDNN has them: sides in the order B, heads, tokens, K, wherever they lie in memory. */
static std::vector<int64_t> Sides(const Heads& x) { return {x.B, x.count, x.tokens, x.K}; }

static std::vector<int64_t> Strides(const Heads& x) { return {x.tokens * x.row * x.K, x.K, x.row * x.K, 1}; }

/** A graph with cuDNN's plan for it. */
struct Plan {
    fe::graph::Graph graph;
    int64_t workspace = 0;

    Plan() {
        graph.set_io_data_type(fe::DataType_t::BFLOAT16)
            .set_intermediate_data_type(fe::DataType_t::FLOAT)
            .set_compute_data_type(fe::DataType_t::FLOAT);
    }

    using Described = std::shared_ptr<fe::graph::Tensor_attributes>;

    Described Input(Uid uid, const std::vector<int64_t>& sides, const std::vector<int64_t>& strides) {
        return graph.tensor(fe::graph::Tensor_attributes().set_uid(uid).set_dim(sides).set_stride(strides));
    }
    Described Input(Uid uid, const Heads& x) { return Input(uid, Sides(x), Strides(x)); }

    static void Output(Uid uid, const Described& y, const Heads& to) {
        y->set_output(true).set_uid(uid).set_dim(Sides(to)).set_stride(Strides(to));
    }

    /** cuDNN's own rules choose, so that every run takes the same way. */
    void Build() {
        Good(graph.validate());
        Good(graph.build_operation_graph(Handle()));
        Good(graph.create_execution_plans({fe::HeurMode_t::A}));
        Good(graph.check_support(Handle()));
        Good(graph.build_plans(Handle()));
        Good(graph.get_workspace_size(workspace));
    }
};

// ## The ops

/** What forward and backward share: how q, k and v come, and who computes them. */
class Attention : public GpuOp {
  public:
    explicit Attention(OpKernelConstruction* c)
        : GpuOp(c), causal_(Attribute<bool>(c, "causal")), scale_(Attribute<float>(c, "scale")),
          count_(Attribute<int>(c, "N")), kv_heads_(Attribute<int>(c, "kv_heads")) {}

  protected:
    /** q, k and v: inputs `first` and the next two, or heads of input `first`. Throws where they don't fit. */
    Attended InputsAt(OpKernelContext* ctx, int first) const {
        const Tensor &q = ctx->input(first), &k = ctx->input(first + (count_ == 3 ? 1 : 0));
        const Tensor& v = ctx->input(first + (count_ == 3 ? 2 : 0));
        Require(ctx, q.dims() == 4 && k.dims() == 4 && k.shape() == v.shape(), Needed());
        const int64_t G = count_ == 3 ? k.dim_size(2) : kv_heads_, H = q.dim_size(2) - (count_ == 3 ? 0 : 2 * G);
        const bool fits = k.dim_size(0) == q.dim_size(0) && k.dim_size(3) == q.dim_size(3) && k.dim_size(1) > 0 &&
                          G > 0 && H >= 0 && H % G == 0 && (!causal_ || k.dim_size(1) == q.dim_size(1));
        Require(ctx, fits, Needed());
        if (count_ == 3) return {Heads(q, 0, H), Heads(k, 0, G), Heads(v, 0, G), causal_, scale_, q.dtype()};
        return {Heads(q, 0, H), Heads(q, H, G), Heads(q, H + G, G), causal_, scale_, q.dtype()};
    }

    std::string Needed() const {
        if (count_ == 1) return "qkv [B, T, H+2G, K], G dividing H, and T above 0";
        return "q [B, T, H, K], k and v [B, S, G, K], G dividing H, S above 0, and T = S if causal";
    }

    static bool ByCudnn(const Attended& a) { return a.type == DT_BFLOAT16 && a.q.K % 8 == 0 && a.q.K <= 128; }

    static TensorShape OutputShape(const Attended& a) { return TensorShape({a.q.B, a.q.tokens, a.q.count, a.q.K}); }
    static TensorShape LseShape(const Attended& a) { return TensorShape({a.q.B, a.q.count, a.q.tokens}); }

    /** The plan for such tensors, made by `build` where there is none yet. */
    template <class Build>
    Plan& PlanFor(const Attended& a, Build build) {
        std::lock_guard<std::mutex> lock(mutex_);
        std::vector<int64_t> key = Sides(a.q);
        for (int64_t side : Sides(a.k)) key.push_back(side);
        std::unique_ptr<Plan>& plan = plans_[key];
        if (!plan) {
            auto made = std::make_unique<Plan>();
            build(*made);
            made->Build();
            plan = std::move(made);
        }
        return *plan;
    }

    static void Execute(OpKernelContext* ctx, Plan& plan, std::unordered_map<int64_t, void*> tensors) {
        const Tensor workspace = Scratch(ctx, DT_FLOAT, plan.workspace / 4 + 1);
        CheckCode("cudnnSetStream", fe::detail::set_stream(Handle(), static_cast<cudaStream_t>(StreamOf(ctx))));
        Good(plan.graph.execute(Handle(), tensors, Data(workspace)));
    }

    void Run(OpKernelContext* ctx) override {
        const Attended a = InputsAt(ctx, 0);
        const Tensor o = Output(ctx, 0, OutputShape(a)), lse = Output(ctx, 1, LseShape(a));
        if (!ByCudnn(a)) return Flash(ctx, a, o, lse);
        Plan& plan = PlanFor(a, [&](Plan& made) { Describe(made, a, Heads(o, 0, a.q.count)); });
        Execute(ctx, plan, {{Q, a.q.at}, {KEYS, a.k.at}, {V, a.v.at}, {O, Data(o)}, {LSE, Data(lse)}});
    }

    const bool causal_;
    const float scale_;
    const int count_, kv_heads_;

  private:
    std::mutex mutex_;
    std::map<std::vector<int64_t>, std::unique_ptr<Plan>> plans_;

    static void Describe(Plan& plan, const Attended& a, const Heads& output) {
        const auto options = fe::graph::SDPA_attributes()
                                 .set_name("attention")
                                 .set_generate_stats(true)
                                 .set_causal_mask(a.causal)
                                 .set_attn_scale(a.scale);
        const auto [o, lse] = plan.graph.sdpa(plan.Input(Q, a.q), plan.Input(KEYS, a.k), plan.Input(V, a.v), options);
        plan.Output(O, o, output);
        lse->set_output(true).set_uid(LSE).set_data_type(fe::DataType_t::FLOAT);
    }
};

/** Deterministic unless told otherwise: cuDNN adds up dq's parts in order, where its fastest way adds as they come. */
class AttentionGrad : public Attention {
  public:
    explicit AttentionGrad(OpKernelConstruction* c)
        : Attention(c), deterministic_(Attribute<bool>(c, "deterministic")) {}

  protected:
    void Run(OpKernelContext* ctx) override {
        const Attended a = InputsAt(ctx, 1);
        const Tensor &dO = ctx->input(0), &o = ctx->input(1 + count_), &lse = ctx->input(2 + count_);
        const bool fits = dO.shape() == OutputShape(a) && o.shape() == dO.shape() && lse.shape() == LseShape(a);
        Require(ctx, fits, "do and o [B, T, H, K], lse [B, H, T], " + Needed());
        std::vector<Tensor> grads;
        for (int i = 0; i < count_; i++) grads.push_back(Output(ctx, i, ctx->input(1 + i).shape()));
        const auto like = [&](const Heads& x, int i) { return Heads(grads[count_ == 3 ? i : 0], x.first, x.count); };
        const AttendedGradients out{like(a.q, 0), like(a.k, 1), like(a.v, 2)};
        if (!ByCudnn(a)) return FlashGrad(ctx, a, {dO, o, lse}, out);
        const int64_t groups = GroupsAtOnce(a);
        for (int64_t g = 0; g < a.k.count; g += groups) Some(ctx, a, {dO, o, lse}, out, g, groups);
    }

  private:
    const bool deterministic_;

    /**
     * How many of the key heads to take in one call. To add up dq in order cuDNN wants memory that grows with T² and
     * with the heads, 69 GB for 32,768 tokens and 32 heads: where it would be more than 2 GiB, fewer heads go at once.
     */
    int64_t GroupsAtOnce(const Attended& a) const {
        int64_t groups = a.k.count;
        const double each = 2.0 * a.q.B * (a.q.count / a.k.count) * a.q.tokens * a.k.tokens;  // bytes; measured
        while (deterministic_ && groups % 2 == 0 && groups * each > kMostScratch) groups /= 2;
        return groups;
    }

    /** The gradients of `groups` key heads from g on, and of the query heads that see them. */
    void Some(OpKernelContext* ctx, const Attended& a, const AttendedOutput& output, const AttendedGradients& out,
              int64_t g, int64_t groups) {
        const int64_t R = a.q.count / a.k.count;
        const Attended some{a.q.Some(g * R, groups * R), a.k.Some(g, groups), a.v.Some(g, groups), a.causal, a.scale,
                            a.type};
        const AttendedGradients grads{out.dq.Some(g * R, groups * R), out.dk.Some(g, groups), out.dv.Some(g, groups)};
        const Heads o(output.o, g * R, groups * R), dO(output.dO, g * R, groups * R);
        float* const lse = static_cast<float*>(Data(output.lse)) + g * R * a.q.tokens;
        Plan& plan = PlanFor(some, [&](Plan& made) { Describe(made, some, o, grads); });
        Execute(ctx, plan,
                {{Q, some.q.at}, {KEYS, some.k.at}, {V, some.v.at}, {O, o.at}, {LSE, lse}, {DO, dO.at},
                 {DQ, grads.dq.at}, {DK, grads.dk.at}, {DV, grads.dv.at}});
    }

    void Describe(Plan& plan, const Attended& a, const Heads& output, const AttendedGradients& out) const {
        const int64_t B = a.q.B, H = a.q.count, T = a.q.tokens;
        const auto stats = plan.Input(LSE, {B, H, T, 1}, {output.row * T, T, 1, 1});
        stats->set_data_type(fe::DataType_t::FLOAT);
        const auto options = fe::graph::SDPA_backward_attributes()
                                 .set_name("attention_grad")
                                 .set_causal_mask(a.causal)
                                 .set_attn_scale(a.scale)
                                 .set_deterministic_algorithm(deterministic_);
        const auto q = plan.Input(Q, a.q), k = plan.Input(KEYS, a.k), v = plan.Input(V, a.v);
        const auto o = plan.Input(O, output), dO = plan.Input(DO, output);
        const auto [dq, dk, dv] = plan.graph.sdpa_backward(q, k, v, o, dO, stats, options);
        plan.Output(DQ, dq, out.dq);
        plan.Output(DK, dk, out.dk);
        plan.Output(DV, dv, out.dv);
    }
};

REGISTER_KERNEL_BUILDER(FOURFOLD_GPU("FourfoldAttention"), Attention);
REGISTER_KERNEL_BUILDER(FOURFOLD_GPU("FourfoldAttentionGrad"), AttentionGrad);

}  // namespace fourfold::cuda
