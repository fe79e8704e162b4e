import AccessLog

/// Inline SVG without text: words stand beside it as HTML, so that they keep their size on a phone.
enum Charts {
  /// Columns with the failed part on top. The tallest fills the height.
  static func columns(_ counts: [Tally.Count], titles: [String], label: String) -> HTML {
    let most = max(1, counts.map(\.total).max() ?? 1)
    let width = 100.0 / Double(max(1, counts.count))
    let gap = width * 0.18
    let columns: [HTML] = zip(counts, titles).enumerated().filter { $0.element.0.total > 0 }.map { index, entry in
      let (count, title) = entry
      // Something is seen of the smallest.
      let height = max(1.2, 100 * Double(count.total) / Double(most))
      let failed = count.failed == 0 ? 0 : max(1.2, 100 * Double(count.failed) / Double(most))
      let x = Double(index) * width + gap / 2
      return """
        <g><title>\(title)</title>\
        \(rect(x, 100 - height, width - gap, height, "good"))\
        \(failed > 0 ? rect(x, 100 - height, width - gap, min(failed, height), "bad") : "")</g>
        """
    }
    return """
      <svg class="columns" viewBox="0 0 100 100" preserveAspectRatio="none" role="img" aria-label="\(label)">\
      <line class="axis" x1="0" y1="100" x2="100" y2="100"/>\(columns)</svg>
      """
  }

  /// One bar, its failed part at the end.
  static func bar(_ count: Tally.Count, of most: Int) -> HTML {
    let width = max(0.8, 100 * Double(count.total) / Double(max(1, most)))
    let failed = count.failed == 0 ? 0 : max(0.8, 100 * Double(count.failed) / Double(max(1, most)))
    return """
      <svg class="bar" viewBox="0 0 100 10" preserveAspectRatio="none" aria-hidden="true">\
      \(rect(0, 0, width, 10, "good"))\
      \(failed > 0 ? rect(max(0, width - failed), 0, min(failed, width), 10, "bad") : "")</svg>
      """
  }

  /// From the median to the 99th percentile on a logarithmic scale, with marks at 50, 95 and 99 %.
  static func latency(_ parts: [UInt64], from low: Double, to high: Double) -> HTML {
    let places = parts.map { 1 + 98 * (max(low, binaryLogarithm($0)) - low) / max(0.001, high - low) }
    guard let first = places.first, let last = places.last else { return "" }
    let marks: [HTML] = zip(places, ["good", "warn", "bad"]).map { place, style in rect(place - 0.6, 1, 1.2, 8, style) }
    return """
      <svg class="bar" viewBox="0 0 100 10" preserveAspectRatio="none" aria-hidden="true">\
      \(rect(first, 4, max(0.5, last - first), 2, "range"))\(marks)</svg>
      """
  }

  /// An age against the rotation interval, which stands at two thirds.
  static func age(_ seconds: Double, interval: Double) -> HTML {
    let part = min(1.5, seconds / max(1, interval))
    let style = part < 0.9 ? "good" : part <= 1.1 ? "warn" : "bad"
    return """
      <svg class="bar" viewBox="0 0 100 10" preserveAspectRatio="none" aria-hidden="true">\
      \(rect(0, 2, max(0.8, part / 1.5 * 100), 6, style))\(rect(66.3, 0, 0.7, 10, "mark"))</svg>
      """
  }

  static func binaryLogarithm(_ nanoseconds: UInt64) -> Double {
    let value = Double(max(1, nanoseconds))
    return Double(value.exponent) + value.significand - 1  // near enough for a place on a chart
  }

  private static func rect(_ x: Double, _ y: Double, _ width: Double, _ height: Double, _ style: String) -> HTML {
    func text(_ value: Double) -> String { fixed(Int64((value * 100).rounded()), decimals: 2) }
    return
      "<rect class=\"\(style)\" x=\"\(text(x))\" y=\"\(text(y))\" width=\"\(text(width))\" height=\"\(text(height))\"/>"
  }
}
