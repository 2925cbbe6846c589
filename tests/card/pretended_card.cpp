// Two pretended CUDA cards for a CPU build of torch. What they show, and what they cannot, stands in CONTRIBUTING.md.
//
// An allocator, a device guard and kernels are registered under torch's own CUDA device type, so that tensors say
// cuda:0, torch itself refuses to mix devices, and composite operations are taken apart as on a card. A primitive
// operation runs as the CPU's kernel on the same memory. Each is reported to a listener, see `Event`.
#include <ATen/EmptyTensor.h>
#include <ATen/core/Tensor.h>
#include <ATen/native/Resize.h>
#include <ATen/ops/_local_scalar_dense.h>
#include <ATen/ops/_reshape_alias_native.h>
#include <ATen/ops/as_strided_native.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/unfold_native.h>
#include <ATen/ops/view_native.h>
#include <c10/core/Allocator.h>
#include <c10/core/impl/DeviceGuardImplInterface.h>
#include <torch/library.h>

#include <array>
#include <atomic>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <sstream>
#include <string>
#include <unordered_set>
#include <vector>

namespace {

using at::Tensor;
using c10::Device;
using c10::DeviceType;
using c10::DispatchKey;
using c10::DispatchKeySet;
using c10::IntArrayRef;

constexpr int kCards = 2;
thread_local int current_card = 0;
std::array<std::atomic<int64_t>, kCards> allocated{};
std::array<std::atomic<int64_t>, kCards> waits{};

// What the host asked of a card: to run an operation, to take or to send values without being waited for, or to be
// waited for.
enum Event { LAUNCH = 0, UPLOAD = 1, WAIT = 2, DOWNLOAD = 3 };
using Listener = void (*)(int event, const char* operation, const char* operands);
Listener listener = nullptr;

// Copies to the host that nobody has waited for yet: they arrive with the next wait for their card.
std::array<std::vector<std::function<void()>>, kCards> on_their_way;

void arrive(int card) {
  auto copies = std::move(on_their_way[card]);
  on_their_way[card].clear();
  for (auto& copy : copies) copy();
}

void report(Event event, int card, const std::string& operation, const std::string& operands) {
  if (event == WAIT) {
    waits[card]++;
    arrive(card);
  }
  if (listener != nullptr) listener(event, operation.c_str(), operands.c_str());
}

std::string described(const Tensor& t) {
  std::ostringstream text;
  text << c10::toString(t.scalar_type()) << t.sizes();
  return text.str();
}

// ---- memory

struct Block {
  void* data;
  int64_t size;
  int card;
};

void release(void* context) {
  auto* block = static_cast<Block*>(context);
  allocated[block->card] -= block->size;
  std::free(block->data);
  delete block;
}

struct CardAllocator final : c10::Allocator {
  c10::DataPtr allocate(size_t size) override {
    void* data = nullptr;
    if (size > 0) {
      TORCH_CHECK(posix_memalign(&data, 64, size) == 0, "CUDA out of memory");
      std::memset(data, 0xFF, size);  // NaN in every float format: fresh memory holds anything
    }
    allocated[current_card] += static_cast<int64_t>(size);
    auto* block = new Block{data, static_cast<int64_t>(size), current_card};
    return {data, block, &release, Device(DeviceType::CUDA, static_cast<c10::DeviceIndex>(current_card))};
  }
  c10::DeleterFnPtr raw_deleter() const override { return nullptr; }
  void copy_data(void* to, const void* from, size_t size) const override { std::memcpy(to, from, size); }
};
CardAllocator card_allocator;

int card_of(std::optional<Device> device) { return device && device->has_index() ? device->index() : current_card; }

struct OnCard {
  explicit OnCard(int card) : before(current_card) {
    TORCH_CHECK(card < kCards, "CUDA error: invalid device ordinal");
    current_card = card;
  }
  ~OnCard() { current_card = before; }
  int before;
};

struct CardGuard final : c10::impl::DeviceGuardImplInterface {
  DeviceType type() const override { return DeviceType::CUDA; }
  Device getDevice() const override {
    return Device(DeviceType::CUDA, static_cast<c10::DeviceIndex>(current_card));
  }
  void uncheckedSetDevice(Device device) const noexcept override { current_card = card_of(device); }
  void setDevice(Device device) const override {
    TORCH_CHECK(device.is_cuda() && device.index() < kCards, "CUDA error: invalid device ordinal");
    uncheckedSetDevice(device);
  }
  Device exchangeDevice(Device device) const override {
    auto before = getDevice();
    setDevice(device);
    return before;
  }
  c10::Stream getStream(Device device) const override { return c10::Stream(c10::Stream::DEFAULT, device); }
  c10::Stream getDefaultStream(Device device) const override { return getStream(device); }
  c10::Stream exchangeStream(c10::Stream stream) const override { return stream; }
  c10::DeviceIndex deviceCount() const noexcept override { return kCards; }
  void synchronizeDevice(c10::DeviceIndex card) const override { report(WAIT, card, "synchronize", ""); }
};

// ---- the same memory under another device

Tensor relabelled(const Tensor& t, Device device, DispatchKey key, c10::Allocator* allocator) {
  TORCH_CHECK(t.layout() == c10::kStrided, "the pretended card has strided tensors only");
  const auto& owner = t.storage();
  auto let_go = [](void* context) { delete static_cast<c10::Storage*>(context); };
  c10::DataPtr data(owner.mutable_data(), new c10::Storage(owner), let_go, device);
  c10::Storage storage(c10::Storage::use_byte_size_t(), owner.nbytes(), std::move(data), allocator, true);
  auto result = at::detail::make_tensor<c10::TensorImpl>(std::move(storage), DispatchKeySet(key), t.dtype());
  auto* impl = result.unsafeGetTensorImpl();
  impl->set_storage_offset(t.storage_offset());
  impl->set_sizes_and_strides(t.sizes(), t.strides());
  if (t.unsafeGetTensorImpl()->is_wrapped_number()) impl->set_wrapped_number(true);
  return result;
}

Tensor host_twin(const Tensor& t) {
  return relabelled(t, Device(DeviceType::CPU), DispatchKey::CPU, c10::GetAllocator(DeviceType::CPU));
}

Tensor card_twin(const Tensor& t, int card) {
  Device device(DeviceType::CUDA, static_cast<c10::DeviceIndex>(card));
  return relabelled(t, device, DispatchKey::CUDA, &card_allocator);
}

// ---- every operation that has no kernel below

// Operations whose CUDA kernels take no number from the host, where those of TensorIterator take a 0-dimensional tensor.
const std::unordered_set<std::string> kCardOnly = {
    "aten::addmm.out", "aten::baddbmm.out", "aten::bmm.out", "aten::cat", "aten::cat.out", "aten::cumsum.out",
    "aten::embedding", "aten::gather", "aten::gather.out", "aten::index_add.out", "aten::index_copy.out",
    "aten::index_select", "aten::index_select.out", "aten::mm.out", "aten::scatter.src_out", "aten::scatter.value_out",
    "aten::scatter_add.out", "aten::searchsorted.Tensor", "aten::searchsorted.Tensor_out", "aten::sort.values_stable",
    "aten::topk.values"};

// Operations whose result has a size, or is a number, that the host has to know.
const std::unordered_set<std::string> kWaiting = {
    "aten::_unique", "aten::_unique2", "aten::bincount", "aten::histc", "aten::masked_select",
    "aten::masked_select.out", "aten::nonzero", "aten::nonzero.out", "aten::repeat_interleave.Tensor",
    "aten::unique_consecutive", "aten::unique_dim", "aten::unique_dim_consecutive", "aten::_linalg_check_errors",
    "aten::_linalg_eigh"};

const std::string kIndexPut = "aten::_index_put_impl_";

std::string name_of(const c10::FunctionSchema& schema) {
  return schema.overload_name().empty() ? schema.name() : schema.name() + "." + schema.overload_name();
}

// The arguments of one operation, exchanged for tensors of the host over the same memory, and its results back.
class Call {
 public:
  explicit Call(const c10::FunctionSchema& schema) : schema_(schema), name_(name_of(schema)) {}

  void arguments_to_host(torch::jit::Stack* stack) {
    const auto first = stack->size() - schema_.arguments().size();
    for (size_t i = 0; i < schema_.arguments().size(); i++) {
      auto& value = (*stack)[first + i];
      const auto* alias = schema_.arguments()[i].alias_info();
      const bool written = alias != nullptr && alias->isWrite();
      if (value.isTensor()) {
        value = operand(value.toTensor(), written);
      } else if (value.isTensorList()) {
        c10::List<Tensor> list;
        for (const Tensor& t : value.toTensorVector()) list.push_back(operand(t, written));
        value = std::move(list);
      } else if (value.isOptionalTensorList()) {
        c10::List<std::optional<Tensor>> list;
        const bool fills = name_ == kIndexPut && is_number_of_host((*stack)[first + 2].toTensor());
        for (const auto& t : value.toOptionalTensorVector()) list.push_back(index(t, fills));
        value = std::move(list);
      } else if (value.isDevice()) {
        if (value.toDevice().is_cuda() && !device_) device_ = value.toDevice();
        value = Device(DeviceType::CPU);
      }
    }
  }

  void run(const c10::OperatorHandle& op, torch::jit::Stack* stack) {
    report(LAUNCH, card_of(device_), name_, operands_);
    if (kWaiting.count(name_)) report(WAIT, card_of(device_), name_, operands_);
    op.redispatchBoxed(DispatchKeySet(DispatchKey::CPU), stack);
    for (auto& [ours, twin] : twins_) follow(ours, twin);
  }

  void results_to_card(torch::jit::Stack* stack) {
    for (size_t i = stack->size() - schema_.returns().size(); i < stack->size(); i++) {
      auto& value = (*stack)[i];
      if (value.isTensor()) {
        value = result(value.toTensor());
      } else if (value.isTensorList()) {
        c10::List<Tensor> list;
        for (const Tensor& t : value.toTensorVector()) list.push_back(result(t));
        value = std::move(list);
      }
    }
  }

 private:
  Tensor operand(const Tensor& t, bool written) {
    if (!t.defined()) return t;
    if (!t.is_cuda()) {
      TORCH_CHECK(t.dim() == 0 && !written && !kCardOnly.count(name_),
                  "Expected all tensors to be on the same device, but found at least two devices, cuda and cpu! (",
                  name_, " with ", described(t), ")");
      // where() moves such a number to the card first, as a copy that blocks.
      if (name_ == "aten::where.self" || name_ == "aten::where.self_out")
        report(WAIT, card_of(device_), "blocking upload", described(t));
      return t;
    }
    if (!device_ || !device_->has_index()) device_ = t.device();
    TORCH_CHECK(*device_ == t.device(), "Expected all tensors to be on the same device, but found at least two devices, ",
                *device_, " and ", t.device(), "! (", name_, ")");
    if (operands_.size() < 160) operands_ += (operands_.empty() ? "" : ", ") + described(t);
    for (auto& [ours, twin] : twins_)
      if (ours.is_same(t)) return twin;
    twins_.emplace_back(t, host_twin(t));
    return twins_.back().second;
  }

  static bool is_number_of_host(const Tensor& t) { return t.defined() && !t.is_cuda() && t.numel() == 1; }

  // index() has moved and expanded its indices before it comes here; index_put_() does both in its kernel, unless a
  // number of the host is written through a mask: then it fills.
  std::optional<Tensor> index(const std::optional<Tensor>& t, bool fills) {
    if (!t || !t->defined()) return t;
    if (name_ == kIndexPut) {
      if (!t->is_cuda()) report(WAIT, card_of(device_), "blocking upload", described(*t));
      if (t->scalar_type() == at::kBool && !fills) report(WAIT, card_of(device_), "aten::nonzero", described(*t));
    }
    return t->is_cuda() ? operand(*t, false) : t;
  }

  // An argument that was resized has other memory now.
  void follow(const Tensor& ours, const Tensor& twin) {
    const bool same = ours.nbytes() == 0 || ours.storage().data() == twin.storage().data();
    if (same && ours.sizes() == twin.sizes() && ours.strides() == twin.strides()) return;
    auto fresh = card_twin(twin, card_of(device_));
    auto* impl = ours.unsafeGetTensorImpl();
    impl->set_storage_keep_dtype(fresh.storage());
    impl->set_storage_offset(fresh.storage_offset());
    impl->set_sizes_and_strides(fresh.sizes(), fresh.strides());
  }

  Tensor result(const Tensor& t) {
    if (!t.defined()) return t;
    for (auto& [ours, twin] : twins_)
      if (twin.is_same(t)) return ours;
    return card_twin(t, card_of(device_));
  }

  const c10::FunctionSchema& schema_;
  std::string name_, operands_;
  std::optional<Device> device_;
  std::vector<std::pair<Tensor, Tensor>> twins_;
};

void any_operation(const c10::OperatorHandle& op, torch::jit::Stack* stack) {
  Call call(op.schema());
  call.arguments_to_host(stack);
  call.run(op, stack);
  call.results_to_card(stack);
}

// ---- operations of memory and views

Tensor empty(IntArrayRef size, std::optional<at::ScalarType> dtype, std::optional<at::Layout>,
             std::optional<Device> device, std::optional<bool>, std::optional<at::MemoryFormat> format) {
  OnCard card(card_of(device));
  const DispatchKeySet key(DispatchKey::CUDA);
  return at::detail::empty_generic(size, &card_allocator, key, c10::dtype_or_default(dtype), format);
}

Tensor empty_strided(IntArrayRef size, IntArrayRef stride, std::optional<at::ScalarType> dtype,
                     std::optional<at::Layout>, std::optional<Device> device, std::optional<bool>) {
  OnCard card(card_of(device));
  const DispatchKeySet key(DispatchKey::CUDA);
  return at::detail::empty_strided_generic(size, stride, &card_allocator, key, c10::dtype_or_default(dtype));
}

Tensor as_strided(const Tensor& self, IntArrayRef size, IntArrayRef stride, std::optional<int64_t> offset) {
  return at::native::as_strided_tensorimpl(self, size, stride, offset);
}
Tensor view(const Tensor& self, IntArrayRef size) { return at::native::view(self, size); }
Tensor reshape_alias(const Tensor& self, IntArrayRef size, IntArrayRef stride) {
  return at::native::_reshape_alias(self, size, stride);
}
Tensor unfold(const Tensor& self, int64_t dimension, int64_t size, int64_t step) {
  return at::native::unfold(self, dimension, size, step);
}

const Tensor& resize_(const Tensor& self, IntArrayRef size, std::optional<at::MemoryFormat> format) {
  OnCard card(self.device().index());
  at::native::resize_impl_cpu_(self.unsafeGetTensorImpl(), size, std::nullopt);
  if (format) self.unsafeGetTensorImpl()->empty_tensor_restride(*format);
  return self;
}

Tensor& set_storage(Tensor& self, c10::Storage storage, int64_t offset, IntArrayRef size, IntArrayRef stride) {
  auto* impl = self.unsafeGetTensorImpl();
  impl->set_storage_keep_dtype(std::move(storage));
  impl->set_storage_offset(offset);
  impl->set_sizes_and_strides(size, stride);
  return self;
}
Tensor& set_tensor(Tensor& self, const Tensor& source) {
  return set_storage(self, source.storage(), source.storage_offset(), source.sizes(), source.strides());
}

// ---- between a card and the host

Tensor& copy_(Tensor& self, const Tensor& source, bool non_blocking) {
  if (self.is_same(source) || self.numel() == 0) return self;
  const auto operands = described(source) + " -> " + described(self);
  if (self.is_cuda() && source.is_cuda()) {
    report(LAUNCH, self.device().index(), "aten::copy_", operands);
  } else if (self.is_cuda()) {
    const int card = self.device().index();
    non_blocking ? report(UPLOAD, card, "upload", operands) : report(WAIT, card, "blocking upload", operands);
  } else if (non_blocking) {
    const int card = source.device().index();
    report(DOWNLOAD, card, "download", operands);
    // What the card held when it was told; until somebody waits for it the host has other numbers there.
    auto held = host_twin(source).clone();
    TORCH_CHECK(self.is_contiguous(), "a download goes to contiguous memory");
    std::memset(self.data_ptr(), 0xFF, self.nbytes());
    on_their_way[card].push_back([self, held]() mutable { self.copy_(held); });
    return self;
  } else {
    report(WAIT, source.device().index(), "read", operands);
  }
  auto to = self.is_cuda() ? host_twin(self) : self;
  to.copy_(source.is_cuda() ? host_twin(source) : source);
  return self;
}

at::Scalar local_scalar_dense(const Tensor& self) {
  report(WAIT, self.device().index(), "item", described(self));
  return at::_local_scalar_dense(host_twin(self));
}

bool equal(const Tensor& a, const Tensor& b) {
  TORCH_CHECK(a.device() == b.device(), "Expected all tensors to be on the same device, but found at least two devices, ",
              a.device(), " and ", b.device(), "! (aten::equal)");
  report(LAUNCH, a.device().index(), "aten::equal", described(a));
  report(WAIT, a.device().index(), "aten::equal", described(a));
  return at::equal(host_twin(a), host_twin(b));
}

const bool registered = (c10::SetAllocator(DeviceType::CUDA, &card_allocator, 100), true);

}  // namespace

namespace c10::impl {
C10_REGISTER_GUARD_IMPL(CUDA, CardGuard);
}

TORCH_LIBRARY_IMPL(_, CUDA, m) { m.fallback(torch::CppFunction::makeFromBoxedFunction<&any_operation>()); }

TORCH_LIBRARY_IMPL(aten, CUDA, m) {
  m.impl("empty.memory_format", &empty);
  m.impl("empty_strided", &empty_strided);
  m.impl("as_strided", &as_strided);
  m.impl("view", &view);
  m.impl("_reshape_alias", &reshape_alias);
  m.impl("unfold", &unfold);
  m.impl("resize_", &resize_);
  m.impl("set_.source_Storage_storage_offset", &set_storage);
  m.impl("set_.source_Tensor", &set_tensor);
  m.impl("copy_", &copy_);
  m.impl("_local_scalar_dense", &local_scalar_dense);
  m.impl("equal", &equal);
}

// What tests/card/pretended.py calls.
extern "C" {
void card_listen(Listener other) { listener = other; }
int card_current() { return current_card; }
void card_select(int card) { current_card = card; }
int64_t card_allocated(int card) { return allocated[card]; }
int64_t card_waits(int card) { return waits[card]; }
void card_wait(int card) { report(WAIT, card, "synchronize", ""); }
}
