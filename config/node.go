package config

import (
	"fmt"
	"strconv"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/token"
)

// literal is the text of a scalar as it was written, without quotes.
func literal(n ast.Node) (string, bool) {
	switch node := n.(type) {
	case *ast.StringNode:
		return node.Value, true
	case *ast.LiteralNode:
		return node.Value.Value, true
	case *ast.IntegerNode, *ast.FloatNode:
		return node.GetToken().Value, true
	}
	return "", false
}

// kind says in words what a node is.
func kind(n ast.Node) string {
	switch node := n.(type) {
	case *ast.MappingNode, *ast.MappingValueNode:
		return "settings with names"
	case *ast.SequenceNode:
		return "a list"
	case *ast.BoolNode:
		return strconv.FormatBool(node.Value)
	case *ast.NullNode:
		return "nothing"
	case *ast.StringNode, *ast.LiteralNode:
		return "a text"
	case *ast.IntegerNode, *ast.FloatNode:
		return "the number " + n.GetToken().Value
	}
	if t := n.GetToken(); t != nil && t.Type != token.UnknownType {
		return fmt.Sprintf("%q", t.Value)
	}
	return "something else"
}
