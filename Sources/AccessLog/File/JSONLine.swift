/// A JSON object as it is written. What is nil or empty is left out.
struct JSONLine {
  private var bytes: [UInt8] = []

  static func object(_ body: (inout JSONLine) -> Void) -> [UInt8] {
    var line = JSONLine()
    body(&line)
    return [0x7B] + line.bytes + [0x7D]
  }

  private mutating func name(_ name: String) {
    if !bytes.isEmpty { bytes.append(0x2C) }
    bytes.append(jsonString: name)
    bytes.append(0x3A)
  }

  mutating func put(_ name: String, _ text: String?) {
    guard let text else { return }
    self.name(name)
    bytes.append(jsonString: text)
  }

  mutating func put(_ name: String, number: Int64?) {
    guard let number else { return }
    self.name(name)
    bytes += String(number).utf8
  }

  mutating func put(_ name: String, flag: Bool) {
    self.name(name)
    bytes += (flag ? "true" : "false").utf8
  }

  mutating func put(_ name: String, _ texts: [String]) {
    guard !texts.isEmpty else { return }
    self.name(name)
    for (i, text) in texts.enumerated() {
      bytes.append(i == 0 ? 0x5B : 0x2C)
      bytes.append(jsonString: text)
    }
    bytes.append(0x5D)
  }

  mutating func object(_ name: String, _ body: (inout JSONLine) -> Void) { put(name, [0x7B], body, [0x7D]) }
  mutating func objects(_ name: String, _ body: (inout JSONLine) -> Void) {
    put(name, [0x5B, 0x7B], body, [0x7D, 0x5D])
  }

  private mutating func put(_ name: String, _ open: [UInt8], _ body: (inout JSONLine) -> Void, _ close: [UInt8]) {
    var inner = JSONLine()
    body(&inner)
    guard !inner.bytes.isEmpty else { return }
    self.name(name)
    bytes += open + inner.bytes + close
  }

  mutating func objects<Item>(_ name: String, _ items: [Item], _ body: (Item, inout JSONLine) -> Void) {
    self.name(name)
    bytes.append(0x5B)
    for (i, item) in items.enumerated() {
      if i > 0 { bytes.append(0x2C) }
      bytes += Self.object { body(item, &$0) }
    }
    bytes.append(0x5D)
  }
}
