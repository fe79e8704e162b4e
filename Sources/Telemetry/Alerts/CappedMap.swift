/// A map of bounded size. When it is full, a new key takes the place of one that was not used for long.
struct CappedMap<Key: Hashable & Sendable, Value: Sendable>: Sendable {
  private struct Slot: Sendable {
    var key: Key
    var value: Value
    var isRecent: Bool
  }

  private let limit: Int
  private var index: [Key: Int] = [:]
  private var slots: [Slot] = []
  private var hand = 0
  // Most often it is asked for again, and then nothing need be hashed.
  private var last = 0

  init(limit: Int) { self.limit = limit }

  var count: Int { slots.count }

  /// The key's slot, made where there is none.
  mutating func slot(_ key: Key, _ make: () -> Value) -> Int {
    if last < slots.count, slots[last].key == key {
      slots[last].isRecent = true
    } else if let found = index[key] {
      slots[found].isRecent = true
      last = found
    } else {
      last = add(key, make())
    }
    return last
  }

  private mutating func add(_ key: Key, _ value: Value) -> Int {
    let new = Slot(key: key, value: value, isRecent: false)  // only a second use keeps it
    guard slots.count == limit else {
      slots.append(new)
      index[key] = slots.count - 1
      return slots.count - 1
    }
    // Clock: the first that was not used since the hand last came by.
    while slots[hand].isRecent {
      slots[hand].isRecent = false
      hand = (hand + 1) % limit
    }
    defer { hand = (hand + 1) % limit }
    index[slots[hand].key] = nil
    index[key] = hand
    slots[hand] = new
    return hand
  }

  subscript(slot: Int) -> Value {
    get { slots[slot].value }
    _modify { yield &slots[slot].value }
  }
}
