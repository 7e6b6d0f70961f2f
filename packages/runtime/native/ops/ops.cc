/**
 * The fused CPU ops as one library, which registers them with TensorFlow when it is loaded, and which is a Node module
 * for the functions of bytes.h.
 */
#include "adamw.h"
#include "attention-grad.h"
#include "attention.h"
#include "bytes.h"
#include "cross-entropy.h"
#include "embedding.h"
#include "merge.h"
#include "rms-norm.h"
#include "rope.h"
#include "split-softmax.h"
#include "swiglu.h"
#include "together.h"
