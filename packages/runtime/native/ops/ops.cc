/**
 * The fused CPU ops as one library, which registers them with TensorFlow when it is loaded, and which is a Node module
 * for the functions of bytes.h, lanes-module.h and packed-bytes.h.
 */
#include "adamw.h"
#include "attention-grad.h"
#include "attention.h"
#include "best-logits.h"
#include "bytes.h"
#include "cached-attention.h"
#include "copy-cache.h"
#include "cross-entropy.h"
#include "decoder-layer.h"
#include "decoder-layers.h"
#include "embedding.h"
#include "experts.h"
#include "lanes-module.h"
#include "merge.h"
#include "packed-bytes.h"
#include "packed-product.h"
#include "rms-norm.h"
#include "rope.h"
#include "split-softmax.h"
#include "sum-over-ranks.h"
#include "swiglu.h"
#include "together.h"

NAPI_MODULE_INIT() {
    fourfold::Export(env, exports, "takeLent", fourfold::TakeLent);
    fourfold::Export(env, exports, "giveBack", fourfold::GiveBack);
    fourfold::Export(env, exports, "fold", fourfold::FoldArrays);
    fourfold::ExportLanes(env, exports);
    fourfold::ExportPacked(env, exports);
    return exports;
}
