/**
 * The fused CPU ops as one library, which registers them with TensorFlow when it is loaded.
 */
#include "rms-norm.h"
#include "rope.h"
#include "softmax.h"
#include "swiglu.h"
