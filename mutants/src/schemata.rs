//! A source file with all its changes in it, each behind a question: is it the chosen one? Operands are evaluated once, so that
//! what is nested does not multiply.

use std::collections::BTreeMap;

use proc_macro2::{Span, TokenStream};
use quote::{ToTokens, quote};
use syn::spanned::Spanned;
use syn::visit_mut::{self, VisitMut};
use syn::{Arm, BinOp, Block, Expr, FieldValue, ImplItemFn, ItemFn, Pat, Stmt, parse_quote};

use crate::list::{Mutant, Place};

/// Puts changes in.
pub struct Schemata<'a> {
    places: BTreeMap<Place, Vec<&'a Mutant>>,
    /// Numbers of those that were put in.
    pub placed: Vec<usize>,
}

fn place(span: Span) -> Place {
    (span.start().line, span.start().column + 1)
}

/// The question.
fn chosen(mutant: &Mutant) -> Expr {
    let number = mutant.number;
    parse_quote!(crate::mutant::chosen(#number))
}

fn operator(text: &str) -> Option<BinOp> {
    syn::parse_str(text).ok()
}

impl<'a> Schemata<'a> {
    pub fn new(places: BTreeMap<Place, Vec<&'a Mutant>>) -> Self {
        Self { places, placed: Vec::new() }
    }

    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    fn take(&mut self, span: Span, genre: &str) -> Vec<&'a Mutant> {
        let here = self.places.get(&place(span)).map_or(&[][..], Vec::as_slice);
        let taken: Vec<_> = here.iter().copied().filter(|mutant| mutant.genre == genre).collect();
        self.placed.extend(taken.iter().map(|mutant| mutant.number));
        taken
    }

    /// A function's body that may be replaced as a whole.
    fn body(&mut self, block: &mut Block, first: Option<Span>) {
        let mut returns: Vec<Stmt> = Vec::new();
        for mutant in first.map_or(Vec::new(), |first| self.take(first, "FnValue")) {
            let (question, value) = (chosen(mutant), mutant.replacement.parse::<TokenStream>());
            let Ok(value) = value else { continue };
            returns.push(parse_quote!(if #question { return #value; }));
        }
        returns.append(&mut block.stmts);
        block.stmts = returns;
    }

    fn binary(&mut self, binary: &syn::ExprBinary) -> Option<Expr> {
        let (left, op, right) = (&binary.left, &binary.op, &binary.right);
        // In a chain of `let`s nothing else can stand.
        if matches!(**left, Expr::Let(_)) || matches!(**right, Expr::Let(_)) {
            return None;
        }
        let mutants = self.take(binary.op.span(), "BinaryOperator");
        if mutants.is_empty() {
            return None;
        }
        let value = |result: &dyn Fn(&BinOp) -> TokenStream| {
            let mut value = result(op);
            for mutant in &mutants {
                let (question, other) = (chosen(mutant), result(&operator(&mutant.replacement)?));
                value = quote!(if #question { #other } else { #value });
            }
            Some(value)
        };
        let tokens = match op {
            // What stands on the right is evaluated as the one operator or the other wants it, at one place.
            BinOp::And(_) | BinOp::Or(_) => {
                let [mutant] = mutants[..] else { return None };
                let (question, and) = (chosen(mutant), matches!(op, BinOp::And(_)));
                quote!({ let left = #left; if left == (#question != #and) { #right } else { left } })
            }
            BinOp::Eq(_) | BinOp::Ne(_) | BinOp::Lt(_) | BinOp::Le(_) | BinOp::Gt(_) | BinOp::Ge(_) => {
                let value = value(&|op| quote!(*left #op *right))?;
                quote!(match (&(#left), &(#right)) { (left, right) => #value })
            }
            BinOp::AddAssign(_)
            | BinOp::SubAssign(_)
            | BinOp::MulAssign(_)
            | BinOp::DivAssign(_)
            | BinOp::RemAssign(_)
            | BinOp::BitXorAssign(_)
            | BinOp::BitAndAssign(_)
            | BinOp::BitOrAssign(_)
            | BinOp::ShlAssign(_)
            | BinOp::ShrAssign(_) => {
                let value = value(&|op| quote!({ #left #op right; }))?;
                quote!(match #right { right => #value })
            }
            _ => {
                let value = value(&|op| quote!(left #op right))?;
                quote!(match (#left, #right) { (left, right) => #value })
            }
        };
        syn::parse2(quote!((#tokens))).ok()
    }

    fn unary(&mut self, unary: &syn::ExprUnary) -> Option<Expr> {
        let mutants = self.take(unary.op.span(), "UnaryOperator");
        let (question, op, operand) = (chosen(mutants.first()?), unary.op, &unary.expr);
        syn::parse2(quote!((match #operand { value => if #question { value } else { #op value } }))).ok()
    }

    fn guard(&mut self, arm: &mut Arm) {
        let span = arm.guard.as_ref().map(|(_, guard)| guard.span());
        for mutant in span.map_or(Vec::new(), |span| self.take(span, "MatchArmGuard")) {
            let question = chosen(mutant);
            let Some((_, guard)) = &mut arm.guard else { continue };
            **guard = match mutant.replacement.as_str() {
                "true" => parse_quote!(#question || (#guard)),
                _ => parse_quote!(!#question && (#guard)),
            };
        }
    }

    fn arm(&mut self, arm: &mut Arm, span: Span) {
        for mutant in self.take(span, "MatchArm") {
            let question = chosen(mutant);
            arm.guard = Some(match arm.guard.take() {
                Some((token, guard)) => (token, parse_quote!(!#question && (#guard))),
                None => (parse_quote!(if), parse_quote!(!#question)),
            });
        }
    }

    /// A field that the base of a structure's literal would set otherwise.
    fn field(&mut self, field: &mut FieldValue, base: &Expr, span: Span) {
        for mutant in self.take(span, "StructField") {
            let (question, member, value) = (chosen(mutant), &field.member, &field.expr);
            field.expr = parse_quote!(if #question { (#base).#member } else { #value });
            field.colon_token = Some(Default::default());
        }
    }
}

impl VisitMut for Schemata<'_> {
    fn visit_item_fn_mut(&mut self, function: &mut ItemFn) {
        let first = function.block.stmts.first().map(Spanned::span);
        visit_mut::visit_item_fn_mut(self, function);
        self.body(&mut function.block, first);
        if asks(&function.block) {
            function.sig.constness = None;
        }
    }

    fn visit_impl_item_fn_mut(&mut self, function: &mut ImplItemFn) {
        let first = function.block.stmts.first().map(Spanned::span);
        visit_mut::visit_impl_item_fn_mut(self, function);
        self.body(&mut function.block, first);
        if asks(&function.block) {
            function.sig.constness = None;
        }
    }

    fn visit_expr_mut(&mut self, expression: &mut Expr) {
        // Spans are those of the source only as long as nothing inside has changed.
        let changed = match &mut *expression {
            Expr::Binary(binary) => {
                let (left, right) = (&mut binary.left, &mut binary.right);
                self.visit_expr_mut(left);
                self.visit_expr_mut(right);
                self.binary(binary)
            }
            Expr::Unary(unary) => {
                self.visit_expr_mut(&mut unary.expr);
                self.unary(unary)
            }
            Expr::Struct(literal) if literal.rest.is_some() => {
                let spans: Vec<_> = literal.fields.iter().map(Spanned::span).collect();
                visit_mut::visit_expr_struct_mut(self, literal);
                if let Some(base) = literal.rest.clone() {
                    literal.fields.iter_mut().zip(spans).for_each(|(field, span)| self.field(field, &base, span));
                }
                None
            }
            other => {
                visit_mut::visit_expr_mut(self, other);
                None
            }
        };
        if let Some(changed) = changed {
            *expression = changed;
        }
    }

    fn visit_arm_mut(&mut self, arm: &mut Arm) {
        let span = arm.span();
        self.guard(arm);
        visit_mut::visit_arm_mut(self, arm);
        self.arm(arm, span);
    }

    // What is constant is not changed.
    fn visit_item_const_mut(&mut self, _: &mut syn::ItemConst) {}
    fn visit_item_static_mut(&mut self, _: &mut syn::ItemStatic) {}
    fn visit_impl_item_const_mut(&mut self, _: &mut syn::ImplItemConst) {}
    fn visit_pat_mut(&mut self, _: &mut Pat) {}
    fn visit_type_mut(&mut self, _: &mut syn::Type) {}
    fn visit_expr_repeat_mut(&mut self, repeat: &mut syn::ExprRepeat) {
        self.visit_expr_mut(&mut repeat.expr);
    }
    fn visit_generic_argument_mut(&mut self, _: &mut syn::GenericArgument) {}
    fn visit_expr_const_mut(&mut self, _: &mut syn::ExprConst) {}
}

fn asks(block: &Block) -> bool {
    block.to_token_stream().to_string().contains("mutant :: chosen")
}
